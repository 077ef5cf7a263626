/** Statements as JSON lines, oldest first: a header, statements with places between them, and how whole it is. */
import type { z } from 'zod'
import type { auditStatus } from '../api/shapes.ts'
import type { Cli } from './cli.ts'
import { openLines } from './resumable-lines.ts'
import { readFilter, type Filter, type FilterOptions } from './search-filter.ts'
import type { ApiWork } from './with-api.ts'

interface Header {
  readonly export: 'sallyport-statements'
  readonly version: 1
  readonly realm: string
  /** Control's clock when it began: nothing later is in it. */
  readonly exportedAtMs: number
  readonly filter: Filter
}

export interface StatementsEnd {
  statements: number
  /** Without an outcome when they were read. */
  running: number
  /** Everything that control has received, of proxies that are all connected, is indexed and was searched. */
  complete: boolean
  /** Why it is not. */
  missing: string[]
}

/** A search that stands still is told from one that goes on by its cursor. */
export async function exportStatements(
  cli: Cli,
  { api, progress }: ApiWork,
  options: FilterOptions & { output: string; text?: string; resume?: boolean },
): Promise<StatementsEnd> {
  const { realm, controlTimeMs } = await api.call('whoami')
  const filter: Filter = {
    ...(options.text === undefined ? {} : { text: options.text }),
    ...(await readFilter(api, options, cli.clock.wallMs())),
  }
  const wanted: Header = {
    export: 'sallyport-statements',
    version: 1,
    realm,
    exportedAtMs: controlTimeMs,
    filter,
  }
  // "1h" means another moment by now: the one of the first try counts.
  const identity = ({ export: kind, version, realm: of, filter: by }: Partial<Header>): string =>
    JSON.stringify([kind, version, of, { ...by, since: 0, until: 0 }])
  const matches = (found: unknown): found is Header =>
    typeof found === 'object' && found !== null && identity(found) === identity(wanted)
  const resume = options.resume === true ? { matches, counts: isRunning } : undefined
  const file = await openLines(options.output, wanted, resume)
  const { header } = file
  const asked = header.filter.until
  const until =
    typeof asked === 'number' ? Math.min(asked, header.exportedAtMs) : header.exportedAtMs
  let { cursor, items: statements, counted: running } = file
  try {
    do {
      const page = await api.call('auditSearch', {
        query: {
          ...{ ...header.filter, until, order: 'oldest', limit: 1_000 },
          ...(cursor === undefined ? {} : { cursor }),
        },
      })
      statements += page.items.length
      running += page.items.filter(isRunning).length
      progress.update(`reading statements, ${statements}`)
      const next = page.next === cursor ? null : page.next
      await file.page(page.items, next)
      cursor = next ?? undefined
    } while (cursor !== undefined)
    const missing = whatIsMissing(await api.call('auditStatus'))
    const end = { statements, running, complete: missing.length === 0, missing }
    await file.finish(end)
    return end
  } catch (error) {
    await file.giveUp(error)
    throw error
  }
}

function isRunning(item: unknown): boolean {
  return typeof item === 'object' && item !== null && 'outcome' in item && item.outcome === null
}

function whatIsMissing({ proxies }: z.output<typeof auditStatus>): string[] {
  return proxies.flatMap((proxy) => {
    const { proxyId, connected, entriesReceived, entriesIndexed, quarantined } = proxy
    const missing: string[] = []
    const waiting = entriesReceived - entriesIndexed
    if (waiting > 0) missing.push(`${waiting} entries of proxy ${proxyId} are not indexed yet`)
    if (!connected) missing.push(`proxy ${proxyId} is away: what it has not shipped is on its disk`)
    if (quarantined > 0) missing.push(`${quarantined} pieces of proxy ${proxyId} are in quarantine`)
    return missing
  })
}
