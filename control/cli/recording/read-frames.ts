/** A recording as control gives it, page by page. */
import { sleep } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { decodeFrames, type Frame } from '../../api/audit/recording.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'
import type { Cli } from '../cli.ts'

export interface FramePage {
  readonly recording: RecordingView
  readonly frames: Frame[]
  /** Parts that are there and were not asked for: what was typed unseen. */
  readonly hiddenParts: number
  readonly ended: boolean
}

export interface ReadFramesOptions {
  readonly session: string
  readonly number: number
  readonly hidden?: boolean
  readonly fromUs?: number
  /** Goes on with a recording that is live, until it ends or this aborts. */
  readonly follow?: AbortSignal
}

const pageBytesMax = 4 * 1024 * 1024
const waitMs = 5_000
const hastyMs = 500
/** Control may be away for so long while a recording is followed. */
const awayMsMax = 60_000
const outages: ReadonlySet<string> = new Set([
  'control-unreachable',
  'store-unavailable',
  'rate-limited',
])

/** One reading: however many pages it has, it is on record once. */
export async function* readFrames(
  cli: Cli,
  api: ApiClient,
  { session, number, hidden, fromUs, follow }: ReadFramesOptions,
): AsyncGenerator<FramePage> {
  const params = { id: session, number }
  const query = {
    hidden: hidden === true ? ('1' as const) : ('0' as const),
    bytesMax: pageBytesMax,
  }
  let cursor: string | undefined
  for (;;) {
    const askedAtMs = cli.clock.monotonicMs()
    const page = await patiently(cli, follow, () =>
      api.call('recordingRead', {
        params,
        query: {
          ...query,
          ...(cursor === undefined ? { fromUs: fromUs ?? 0 } : { cursor }),
          waitMs: follow === undefined || cursor === undefined ? 0 : waitMs,
        },
      }),
    )
    cursor = page.next
    const frames: Frame[] = []
    for (const part of page.parts) {
      if (part.frames !== null) frames.push(...decodeFrames(Buffer.from(part.frames, 'base64')))
    }
    const hiddenParts = page.parts.filter((part) => part.frames === null).length
    yield { recording: page.recording, frames, hiddenParts, ended: page.ended }
    const isLast = page.ended || (follow === undefined && page.parts.length === 0)
    if (isLast || follow?.aborted === true) return
    // A control with too many readings, or one that stops, answers without waiting.
    const hasty = page.parts.length === 0 && cli.clock.monotonicMs() - askedAtMs < hastyMs
    if (hasty) await sleep(cli.clock, hastyMs, follow).catch(() => undefined)
  }
}

/** Asks again while control is away: who follows goes on where they were. */
async function patiently<T>(
  cli: Cli,
  follow: AbortSignal | undefined,
  ask: () => Promise<T>,
): Promise<T> {
  const endMs = cli.clock.monotonicMs() + awayMsMax
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      const follows = follow?.aborted === false
      const passing = follows && error instanceof SallyportError && outages.has(error.code)
      if (!passing || cli.clock.monotonicMs() >= endMs) throw error
      await sleep(cli.clock, 1_000)
    }
  }
}
