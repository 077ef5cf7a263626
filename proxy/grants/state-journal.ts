/**
 * Keeps the view on disk, so that a proxy that restarts in the middle of an outage still honours every grant and
 * every revocation it had. An append-only file of checked lines; rewritten as one snapshot when it has grown.
 *
 *     <first 16 hex digits of the SHA-256 of the JSON> <JSON> \n
 *
 * A line without its end was never acknowledged to control and is cut off. A line that is damaged anywhere else
 * makes the file worthless: the proxy starts from nothing and asks control for the whole state.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { open, rename, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { feedEvent, type FeedEvent } from '../../control/api/feed.ts'
import { id } from '../../control/api/names.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { ControlView } from './control-view.ts'

const position = z.int().nonnegative()
const entry = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('state'), version: z.literal(1), proxyId: id }),
  z.strictObject({ kind: z.literal('whole'), position, events: z.array(feedEvent) }),
  z.strictObject({ kind: z.literal('events'), position, events: z.array(feedEvent) }),
  z.strictObject({
    kind: z.literal('floors'),
    floors: z.array(
      z.strictObject({ grantId: id, revision: z.int().min(1), untilMs: z.int().optional() }),
    ),
  }),
])
type Entry = z.infer<typeof entry>

/** The file is rewritten once this much was appended to it. */
const appendedBytesMax = 4 * 1024 * 1024

export interface StateJournal {
  /** The last position on disk. */
  readonly position: number
  /** Set while the state cannot be written. */
  readonly failure: Error | undefined
  /** Keeps events that the view has applied. Resolves once they are on disk; appends of one moment share a sync. */
  append(position: number, events: readonly FeedEvent[]): Promise<void>
  /** Rewrites the file from the view, as after a resync. Resolves once it is on disk. */
  rewrite(): Promise<void>
  close(): Promise<void>
}

export interface StateJournalOptions {
  /** Made with mode 0700. */
  readonly directory: string
  readonly proxyId: string
  readonly view: ControlView
  readonly clock: Clock
  readonly log: Log
}

/** Reads the state into the view and opens the file for more. */
export async function openStateJournal(options: StateJournalOptions): Promise<StateJournal> {
  const { directory, proxyId, view, clock, log } = options
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'journal')
  await restore(path, proxyId, view, log)

  let file: FileHandle | undefined
  let bytes = 0
  let onDisk = 0
  let failure: Error | undefined
  let waiting: { position: number; line: string; settle: (error?: Error) => void }[] = []
  let whole: ((error?: Error) => void)[] = []
  let writing: Promise<void> | undefined

  async function writeWhole(): Promise<void> {
    const { position, events, floors } = view.snapshot(clock.wallMs())
    const temporary = `${path}.tmp`
    const next = await open(temporary, 'w', 0o600)
    const text =
      line({ kind: 'state', version: 1, proxyId }) +
      line({ kind: 'floors', floors }) +
      line({ kind: 'whole', position, events })
    await next.writeFile(text)
    await next.sync()
    await rename(temporary, path)
    await syncDirectory(directory)
    await file?.close()
    file = next
    bytes = 0
    onDisk = position
  }

  async function writeAll(): Promise<void> {
    while (waiting.length > 0 || whole.length > 0) {
      const batch = waiting
      const wholes = whole
      waiting = []
      whole = []
      let error: Error | undefined
      try {
        if (wholes.length > 0 || file === undefined || failure || bytes > appendedBytesMax) {
          await writeWhole()
        } else {
          const text = batch.map((one) => one.line).join('')
          await file.appendFile(text)
          await file.datasync()
          bytes += text.length
          onDisk = batch.at(-1)!.position
        }
        failure = undefined
      } catch (thrown) {
        error = thrown instanceof Error ? thrown : new Error(String(thrown))
        failure = error
        log.error({ error: error.message, path }, 'the state of the feed cannot be written')
      }
      for (const { settle } of batch) settle(error)
      for (const settle of wholes) settle(error)
    }
  }
  const start = (): void => {
    writing ??= writeAll().finally(() => (writing = undefined))
  }

  const journal: StateJournal = {
    get position() {
      return onDisk
    },
    get failure() {
      return failure
    },
    append: (position, events) =>
      new Promise((resolve, reject) => {
        waiting.push({
          position,
          line: line({ kind: 'events', position, events: [...events] }),
          settle: (error) => (error === undefined ? resolve() : reject(error)),
        })
        start()
      }),
    rewrite: () =>
      new Promise((resolve, reject) => {
        whole.push((error) => (error === undefined ? resolve() : reject(error)))
        start()
      }),
    async close() {
      await writing
      await file?.close()
      file = undefined
    },
  }
  await journal.rewrite()
  return journal
}

async function restore(path: string, proxyId: string, view: ControlView, log: Log): Promise<void> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  const lines = text.split('\n')
  // What follows the last line end was being written when the process died.
  lines.pop()
  const records: Entry[] = []
  for (const [index, each] of lines.entries()) {
    const parsed = parseLine(each)
    const first = index === 0
    if (parsed === undefined || first !== (parsed.kind === 'state')) {
      log.error({ path, line: index + 1 }, 'the state on disk is damaged: starting from nothing')
      return
    }
    if (parsed.kind === 'state' && parsed.proxyId !== proxyId) {
      log.warn({ path }, 'the state on disk is of another proxy: starting from nothing')
      rmSync(path)
      return
    }
    records.push(parsed)
  }
  for (const each of records) {
    if (each.kind === 'floors') view.restoreFloors(each.floors)
    if (each.kind === 'whole') await view.replace(each.position, each.events)
    if (each.kind === 'events') await view.apply(each.position, each.events)
  }
}

function line(content: Entry): string {
  const json = JSON.stringify(content)
  return `${digest(json)} ${json}\n`
}

function parseLine(text: string): Entry | undefined {
  const json = text.slice(17)
  if (text[16] !== ' ' || digest(json) !== text.slice(0, 16)) return undefined
  const parsed = entry.safeParse(JSON.parse(json))
  return parsed.success ? parsed.data : undefined
}

function digest(json: string): string {
  return createHash('sha256').update(json).digest('hex').slice(0, 16)
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
