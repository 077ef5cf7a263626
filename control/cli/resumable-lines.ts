/**
 * JSON lines in a file that is whole or says how far it came. Until its last line is on disk it is called `FILE.partial`;
 * after each page it holds where to go on: {"cursor": "…"}. What broke off is gone on with from there.
 */
import { createReadStream, existsSync, renameSync, rmSync } from 'node:fs'
import { constants, open, type FileHandle } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { refuseOpenToOthers } from './closed-to-others.ts'
import { isOutage } from './is-outage.ts'

export interface ResumableLines<Header> {
  /** Its first line: of the first try, where it is gone on with. */
  readonly header: Header
  /** Where to go on; undefined at the start. */
  readonly cursor: string | undefined
  /** Items that are in it already. */
  readonly items: number
  /** How many of these were counted. */
  readonly counted: number
  page(items: readonly unknown[], next: string | null): Promise<void>
  /** Writes the last line and gives the file its name. */
  finish(end: object): Promise<void>
  /** Leaves what there is for another try, where the error is one that passes. */
  giveUp(error: unknown): Promise<void>
}

/** Rejects with `conflict` where a file cannot be gone on with; `matches` says whether its header is of the same export. */
export async function openLines<Header extends object>(
  fileName: string,
  header: Header,
  resume:
    | {
        readonly matches: (found: unknown) => found is Header
        readonly counts?: (item: unknown) => boolean
      }
    | undefined,
): Promise<ResumableLines<Header>> {
  const partial = `${fileName}.partial`
  if (resume === undefined) {
    rmSync(partial, { force: true })
    const file = await open(partial, 'wx', 0o600)
    await file.write(`${JSON.stringify(header)}\n`)
    return lines(file, fileName, { header, cursor: undefined, items: 0, counted: 0 })
  }
  if (!existsSync(partial)) throw notResumable(`${partial} is not there`)
  refuseOpenToOthers([partial])
  const found = await readPlace(partial, resume.counts ?? (() => false))
  if (!resume.matches(found.header)) throw notResumable(`${partial} is of another export`)
  const file = await open(partial, constants.O_RDWR | constants.O_NOFOLLOW)
  await file.truncate(found.bytes)
  return lines(file, fileName, { ...found, header: found.header }, found.bytes)
}

function lines<Header>(
  file: FileHandle,
  fileName: string,
  start: Pick<ResumableLines<Header>, 'header' | 'cursor' | 'items' | 'counted'>,
  at?: number,
): ResumableLines<Header> {
  let position = at
  const write = async (text: string): Promise<void> => {
    const bytes = Buffer.from(text)
    await file.write(bytes, 0, bytes.length, position ?? null)
    if (position !== undefined) position += bytes.length
  }
  return {
    ...start,
    async page(items, next) {
      const all = next === null ? items : [...items, { cursor: next }]
      await write(all.map((item) => `${JSON.stringify(item)}\n`).join(''))
    },
    async finish(end) {
      await write(`${JSON.stringify({ end })}\n`)
      await file.sync()
      await file.close()
      renameSync(`${fileName}.partial`, fileName)
    },
    async giveUp(error) {
      await file.close()
      if (!isOutage(error)) rmSync(`${fileName}.partial`, { force: true })
    },
  }
}

interface Place {
  header: unknown
  cursor: string | undefined
  items: number
  counted: number
  /** Up to the end of the last line that says where to go on. */
  bytes: number
}

async function readPlace(partial: string, counts: (item: unknown) => boolean): Promise<Place> {
  const input = createInterface({ input: createReadStream(partial), crlfDelay: Infinity })
  const place: Place = { header: undefined, cursor: undefined, items: 0, counted: 0, bytes: 0 }
  let bytes = 0
  let items = 0
  let counted = 0
  let first = true
  for await (const line of input) {
    bytes += Buffer.byteLength(line) + 1
    const json = readJson(line)
    if (first) {
      Object.assign(place, { header: json, bytes })
      first = false
      continue
    }
    const cursor = cursorOf(json)
    if (cursor !== undefined) {
      Object.assign(place, { cursor, items, counted, bytes })
      continue
    }
    items += 1
    if (counts(json)) counted += 1
  }
  return place
}

/** Where to go on, if the line says that. */
export function cursorOf(json: unknown): string | undefined {
  if (typeof json !== 'object' || json === null || !('cursor' in json)) return undefined
  return typeof json.cursor === 'string' && Object.keys(json).length === 1 ? json.cursor : undefined
}

function readJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function notResumable(why: string): SallyportError {
  return new SallyportError('conflict', why, {
    clientMessage: `nothing to go on with: ${why}`,
    hint: 'leave --resume out to begin anew',
  })
}
