/**
 * The old protocol of scp, as `scp -t` and `scp -f` speak it on the far side (OpenSSH's scp -O, and other clients): records of one line each,
 * then the bytes of a file. The side that has the files sends the records; the other answers each with a zero byte, or with a line that
 * begins with 1 (this one not) or 2 (nothing more). What was answered decides what comes next, so both directions are read.
 */
import type { Clock } from '../../kit/clock.ts'
import { SallyportError } from '../../kit/errors.ts'
import type { ChannelObserver } from './channel-observer.ts'
import { Content, FileActivities, type AuditSink, type FileActivity } from './file-activities.ts'

const lineBytesMax = 8 * 1024
const depthMax = 1_000
const unansweredMax = 64

export type ScpDirection = 'to-upstream' | 'from-upstream'

/** Which way an exec line copies; undefined where it is not scp's far side. */
export function scpDirection(
  command: string,
): { direction: ScpDirection; path: string } | undefined {
  // A shell could run more than scp here: then all that is known is the line, and the stream is recorded.
  if (/[;&|<>`$()\\\n\r]/.test(command)) return undefined
  const match = /^\s*(?:\/\S*\/)?scp((?:\s+-[a-zA-Z]+)+)(?:\s+--)?\s+(.+)$/s.exec(command)
  if (match === null) return undefined
  const flags = match[1]!
  const path = match[2]!.trim()
  if (/-[a-zA-Z]*t/.test(flags)) return { direction: 'to-upstream', path }
  return /-[a-zA-Z]*f/.test(flags) ? { direction: 'from-upstream', path } : undefined
}

/** @param path what the exec line names: where the files go, or where they come from. */
export function observeScp(
  sink: AuditSink,
  clock: Clock,
  options: {
    readonly channel: number
    readonly direction: ScpDirection
    readonly path: string
    readonly onUnclear?: () => void
  },
): ChannelObserver {
  const { channel, direction, path, onUnclear } = options
  const activities = new FileActivities(sink, clock, channel)
  const directories: string[] = []
  const records = new Lines()
  const answers = new Lines()
  let file: OpenFile | undefined
  /** What answers are still to come for, in order. The receiving side speaks first. */
  const asked: ('start' | 'directory' | 'file' | 'content' | 'other')[] = ['start']
  /** The upstream said what is not scp (a shell that greets, no scp there): nothing can be told from what follows. */
  let lost = false
  let over = false

  const contentOf = ({ content }: OpenFile) =>
    direction === 'to-upstream'
      ? { up: content, down: new Content() }
      : { up: new Content(), down: content }

  function ask(what: (typeof asked)[number]): void {
    if (asked.length >= unansweredMax) throw violation(`over ${unansweredMax} lines unanswered`)
    asked.push(what)
  }

  function record(text: string): void {
    const kind = text[0]
    // Errors and warnings of the sending side are not answered; they may say anything.
    if (kind === '\u0001' || kind === '\u0002') return said(text)
    if (/^T\d{1,20} \d{1,6} \d{1,20} \d{1,6}$/.test(text)) return ask('other')
    if (text === 'E') {
      directories.pop()
      return ask('other')
    }
    const match = /^([CD])([0-7]{4,5}) (\d{1,16}) (.+)$/s.exec(text)
    if (match === null) throw violation(`the line ${JSON.stringify(text.slice(0, 80))}`)
    const name = match[4]!
    if (name.includes('/') || name === '.' || name === '..') throw violation('a name with a path')
    if (match[1] === 'D') {
      if (directories.length >= depthMax) throw violation(`directories deeper than ${depthMax}`)
      directories.push(name)
      return ask('directory')
    }
    const bytes = Number(match[3])
    const where = Buffer.from(placeOf(name))
    const operation = direction === 'to-upstream' ? 'write' : 'read'
    const isNamed = where.toString().endsWith(`/${name}`) || where.toString() === name
    const remark = isNamed ? `${bytes} bytes` : `${bytes} bytes, sent as ${name}`
    const activity = activities.begin(operation, where, undefined, remark)
    file = { activity, content: new Content(), left: bytes, state: 'named', hasFailed: false }
    ask('file')
  }

  /**
   * What the exec line names is the file itself, a pattern of files, or a directory that they go to: only the far side knows which. A file
   * that goes to a name of its own is shown under that one.
   */
  function placeOf(name: string): string {
    const [top, ...below] = directories
    if (direction === 'from-upstream') {
      return `${path.slice(0, path.lastIndexOf('/') + 1)}${[...directories, name].join('/')}`
    }
    if (top === undefined) {
      const isDirectory = path.endsWith('/') || path === '.' || path === '~'
      return isDirectory ? `${path.replace(/\/$/, '')}/${name}` : path
    }
    return [path.replace(/\/$/, ''), top, ...below, name].join('/')
  }

  /** A sentence of either side's, where only files are expected: on record, or anything could be said this way. */
  function said(text: string): void {
    activities.succeeded(activities.begin('other', Buffer.from(text.slice(1))))
  }

  function answered(text: string): void {
    const what = asked.shift()
    const isYes = text === ''
    if (what === undefined) throw violation('an answer to nothing')
    const isOutcome = file !== undefined && (what === 'file' || what === 'content')
    if (!isYes && (!isOutcome || text.length > 1_000)) said(text)
    if (what === 'directory' && !isYes) directories.pop()
    if (file === undefined || (what !== 'file' && what !== 'content')) return
    if (what === 'file' && isYes) {
      file.state = file.left > 0 ? 'content' : 'status'
      return
    }
    if (isYes && !file.hasFailed) activities.succeeded(file.activity, contentOf(file))
    else activities.failed(file.activity, 'scp', text.slice(1, 1_000), contentOf(file))
    file = undefined
  }

  /** The side that has the files. */
  function fromSender(chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) {
      if (file === undefined) {
        const { line, left } = records.push(rest)
        rest = left
        if (line !== undefined) record(line)
      } else if (file.state === 'content') {
        const piece = rest.subarray(0, file.left)
        file.content.add(file.content.bytes, piece)
        file.left -= piece.length
        if (file.left === 0) file.state = 'status'
        rest = rest.subarray(piece.length)
      } else if (file.state === 'status') {
        // One byte says how reading it went; a line follows one that is not zero.
        file.hasFailed = rest[0] !== 0
        file.state = file.hasFailed ? 'complaint' : 'sent'
        ask('content')
        rest = rest.subarray(1)
      } else if (file.state === 'complaint') {
        const { line, left } = records.push(rest)
        if (line !== undefined) {
          said(`\u0001${line}`)
          file.state = 'sent'
        }
        rest = left
      } else {
        throw violation('content that nobody asked for')
      }
    }
  }

  function fromReceiver(chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) {
      if (answers.isEmpty && rest[0] === 0) {
        rest = rest.subarray(1)
        answered('')
        continue
      }
      if (answers.isEmpty && rest[0] !== 1 && rest[0] !== 2) throw violation('an answer of its own')
      const { line, left } = answers.push(rest)
      rest = left
      if (line !== undefined) answered(line)
    }
  }

  const upstreamReads = direction === 'from-upstream' ? fromSender : fromReceiver
  const clientReads = direction === 'from-upstream' ? fromReceiver : fromSender

  function end(): void {
    if (over) return
    over = true
    if (file !== undefined) activities.cutShort(file.activity, contentOf(file))
    file = undefined
  }

  return {
    fromClient(bytes) {
      if (!lost) clientReads(bytes)
    },
    fromUpstream(bytes) {
      if (lost) return
      try {
        upstreamReads(bytes)
      } catch {
        lost = true
        end()
        onUnclear?.()
      }
    },
    end,
  }
}

interface OpenFile {
  readonly activity: FileActivity
  readonly content: Content
  left: number
  /** `named`: the receiving side has not said yes yet. `sent`: it has not said how writing it went. */
  state: 'named' | 'content' | 'status' | 'complaint' | 'sent'
  /** The sending side could not read all of it. */
  hasFailed: boolean
}

/** Puts lines together from the chunks they come in. */
class Lines {
  #parts: Buffer[] = []
  #bytes = 0

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  push(chunk: Buffer): { line: string | undefined; left: Buffer } {
    const end = chunk.indexOf(0x0a)
    const piece = end < 0 ? chunk : chunk.subarray(0, end)
    this.#bytes += piece.length
    if (this.#bytes > lineBytesMax) throw violation('a line without an end')
    this.#parts.push(Buffer.from(piece))
    if (end < 0) return { line: undefined, left: chunk.subarray(chunk.length) }
    const line = Buffer.concat(this.#parts).toString('utf8')
    this.#parts = []
    this.#bytes = 0
    return { line, left: chunk.subarray(end + 1) }
  }
}

function violation(why: string): SallyportError {
  return new SallyportError('protocol-violation', `scp: ${why}`, {
    clientMessage: 'this does not look like scp',
    hint: 'copy with sftp, or with scp of OpenSSH 9 or later',
  })
}
