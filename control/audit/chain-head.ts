/** The head of one stored chain: an epoch of a proxy. */
import { decodeBatch } from '../api/audit/decode.ts'
import { genesisLink } from '../api/audit/link.ts'
import type { Sql } from '../store/store.ts'
import type { ReceivedChunk } from './received-chunk.ts'

export interface ChainHead {
  /** 0 while nothing of the chain is stored. */
  chainId: number
  lastBatch: number
  lastSequence: number
  lastLink: Buffer
  /** The last batch that went to quarantine because it conflicts; null for a chain that never forked. */
  forkedBatch: number | null
}

interface HeadRow {
  chain_id: number
  last_batch: number
  last_sequence: number
  last_link: Buffer
  forked_batch: number | null
}

const headOf = (row: HeadRow | undefined): ChainHead | undefined =>
  row && {
    chainId: row.chain_id,
    lastBatch: row.last_batch,
    lastSequence: row.last_sequence,
    lastLink: row.last_link,
    forkedBatch: row.forked_batch,
  }

const select = `select chain_id, last_batch, last_sequence, last_link, forked_batch
  from audit_chains where realm = $1 and proxy_id = $2 and epoch = $3`

export function headOfNewChain(epoch: string): ChainHead {
  return {
    chainId: 0,
    lastBatch: 0,
    lastSequence: 0,
    lastLink: genesisLink(epoch),
    forkedBatch: null,
  }
}

export async function readChain(
  sql: Sql,
  realm: string,
  proxyId: string,
  epoch: string,
): Promise<ChainHead | undefined> {
  return headOf((await sql.query<HeadRow>(select, [realm, proxyId, epoch]))[0])
}

/** The same, locked to the end of the transaction. */
export async function lockChain(
  sql: Sql,
  realm: string,
  proxyId: string,
  epoch: string,
): Promise<ChainHead | undefined> {
  return headOf((await sql.query<HeadRow>(`${select} for update`, [realm, proxyId, epoch]))[0])
}

/** Makes an empty chain and returns its id; undefined if another replica has just made it. */
export async function createChain(
  sql: Sql,
  realm: string,
  proxyId: string,
  epoch: string,
  nowMs: number,
): Promise<number | undefined> {
  // Ids are given in the order in which chains become visible: readers page through them.
  await sql.query(`select pg_advisory_xact_lock(hashtext('sallyport-audit-chains'))`)
  const rows = await sql.query<{ chain_id: number }>(
    `insert into audit_chains (realm, proxy_id, epoch, last_batch, last_sequence, last_link, entries,
       created_at_ms, received_at_ms)
     values ($1, $2, $3, 0, 0, $4, 0, $5, $5) on conflict do nothing returning chain_id`,
    [realm, proxyId, epoch, genesisLink(epoch), nowMs],
  )
  const chainId = rows[0]?.chain_id
  if (chainId === undefined) return undefined
  await sql.query(
    `insert into index_progress (chain_id, realm, indexed_sequence, entries_indexed)
     values ($1, $2, 0, 0)`,
    [chainId, realm],
  )
  return chainId
}

export async function moveHead(
  sql: Sql,
  chainId: number,
  chunk: ReceivedChunk,
  nowMs: number,
): Promise<void> {
  await sql.query(
    `update audit_chains set last_batch = $2, last_sequence = $3, last_link = $4,
       entries = entries + $5, received_at_ms = $6 where chain_id = $1`,
    [
      chainId,
      chunk.lastBatch,
      chunk.lastSequence,
      chunk.lastLink,
      chunk.lastSequence - chunk.firstSequence + 1,
      nowMs,
    ],
  )
}

/** Links of the stored batches from `first` to `last`, by number. Reads nothing where nothing overlaps. */
export async function storedLinks(
  sql: Sql,
  head: ChainHead,
  first: number,
  last: number,
): Promise<Map<number, Buffer>> {
  const links = new Map<number, Buffer>()
  if (first > head.lastBatch) return links
  if (last >= head.lastBatch && first === head.lastBatch) {
    return links.set(head.lastBatch, head.lastLink)
  }
  const segments = await sql.query<{ first_batch: number }>(
    `select first_batch from audit_segments
     where chain_id = $1 and last_batch >= $2 and first_batch <= $3 order by first_batch`,
    [head.chainId, first, last],
  )
  for (const { first_batch } of segments) {
    const [row] = await sql.query<{ skeleton: Buffer }>(
      'select skeleton from audit_segments where chain_id = $1 and first_batch = $2',
      [head.chainId, first_batch],
    )
    const skeleton = row?.skeleton ?? Buffer.alloc(0)
    for (let offset = 0; offset < skeleton.length;) {
      const batch = decodeBatch(skeleton, offset)
      links.set(batch.number, batch.link)
      offset += batch.bytes.length
    }
  }
  return links
}
