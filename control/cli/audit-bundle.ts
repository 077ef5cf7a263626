/**
 * The file that `sally audit export` writes and `sally audit verify FILE` reads: JSON lines. The first says of what and
 * when, with the public keys; then one segment a line, in the order in which chains are verified; the last says how many
 * there were, so that a file that broke off is told from a whole one.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Damage } from '../api/audit/verify-chain.ts'
import { realm, timeMs } from '../api/names.ts'
import { cursorOf } from './resumable-lines.ts'
import { auditKeys, segment, type Segment } from '../api/shapes.ts'

export const bundleHeader = z.object({
  bundle: z.literal('sallyport-audit'),
  version: z.literal(1),
  realm,
  /** Control's URL. */
  control: z.string().max(2_000),
  /** Control's clock when the export began. */
  exportedAtMs: timeMs,
  payloads: z.enum(['with', 'without']),
  keys: auditKeys.shape.keys,
})
export type BundleHeader = z.infer<typeof bundleHeader>

export const bundleEnd = z.object({ end: z.object({ segments: z.int().nonnegative() }) })

export interface Bundle {
  readonly header: BundleHeader
  /** To be read once, to its end. */
  readonly segments: AsyncIterable<Segment>
  /** Lines that cannot be read; complete once `segments` has ended. */
  readonly damage: readonly Damage[]
}

/** Rejects with `audit-corrupt` if the first line is not the header of a bundle. */
export async function openBundle(fileName: string): Promise<Bundle> {
  const lines = createInterface({
    input: createReadStream(fileName),
    crlfDelay: Number.POSITIVE_INFINITY,
  })[Symbol.asyncIterator]()
  const first = await lines.next()
  const header = bundleHeader.safeParse(first.done === true ? undefined : readJson(first.value))
  if (!header.success) {
    throw new SallyportError('audit-corrupt', `${fileName}: not the header of a bundle`, {
      clientMessage: `${fileName}: line 1 is not the beginning of an audit bundle`,
      hint: 'sally audit export --output FILE makes one',
    })
  }
  const damage: Damage[] = []
  return { header: header.data, damage, segments: readSegments(lines, damage) }
}

async function* readSegments(
  lines: AsyncIterator<string>,
  damage: Damage[],
): AsyncGenerator<Segment> {
  const wrong = (line: number, detail: string): void => {
    damage.push({ kind: 'unreadable', chain: '', epoch: '', detail: `line ${line} ${detail}` })
  }
  let line = 1
  let count = 0
  let ended = false
  for (let next = await lines.next(); next.done !== true; next = await lines.next()) {
    line += 1
    if (ended) wrong(line, 'comes after the end')
    const json = readJson(next.value)
    // Where an export could go on: it says nothing of the chains.
    if (!ended && cursorOf(json) !== undefined) continue
    const end = bundleEnd.safeParse(json)
    if (end.success) {
      ended = true
      if (end.data.end.segments !== count) {
        wrong(line, `says ${end.data.end.segments} segments, there are ${count}`)
      }
      continue
    }
    count += 1
    const parsed = segment.safeParse(json)
    if (parsed.success) yield parsed.data
    else wrong(line, json === undefined ? 'is not JSON' : 'is not a segment')
  }
  if (!ended) wrong(line + 1, 'is missing: the file broke off')
}

function readJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
