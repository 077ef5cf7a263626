/**
 * SFTP, version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions (PROTOCOL of OpenSSH, chapter 4): who read, wrote, renamed or
 * removed what, how many bytes, and the digest of what was transferred. Looking at attributes is not recorded.
 */
import type { Clock } from '../../kit/clock.ts'
import { ByteReader } from '../../kit/byte-reader.ts'
import { SallyportError } from '../../kit/errors.ts'
import type { ChannelObserver } from './channel-observer.ts'
import {
  Content,
  FileActivities,
  type AuditSink,
  type FileActivity,
  type FileOperation,
} from './file-activities.ts'
import { SftpPackets } from './sftp-packets.ts'

const request = {
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const
const answer = {
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 201,
} as const

/** Requests that are about one path and nothing else that matters. */
const onePath: Readonly<Record<number, FileOperation>> = {
  [request.setstat]: 'set-attributes',
  [request.opendir]: 'list',
  [request.remove]: 'remove',
  [request.mkdir]: 'make-directory',
  [request.rmdir]: 'remove-directory',
  [request.readlink]: 'read-link',
}
/** LSTAT, FSTAT, REALPATH and STAT: they only look. */
const harmless = new Set([7, 8, 16, 17])
/** Extended requests about two paths, and about one. */
const extendedTwo: Readonly<Record<string, FileOperation>> = {
  'posix-rename@openssh.com': 'rename',
  'hardlink@openssh.com': 'link',
}
const extendedOne: Readonly<Record<string, FileOperation>> = {
  'lsetstat@openssh.com': 'set-attributes',
}
/** Extended requests that change nothing and read no content. */
const extendedHarmless = new Set([
  'statvfs@openssh.com',
  'fstatvfs@openssh.com',
  'fsync@openssh.com',
  'limits@openssh.com',
  'expand-path@openssh.com',
  'home-directory',
  'users-groups-by-id@openssh.com',
  'space-available',
  'check-file-handle',
  'check-file-name',
  'vendor-id',
])

const openFlags = { read: 1, write: 2, append: 4, create: 8, truncate: 16 } as const
/** A handle is at most 256 bytes, so that a WRITE's data begins before this. */
const writeHeadBytes = 4 + 4 + 256 + 8 + 4
const handleBytesMax = 256
/** Of OpenSSH's server a file descriptor each; of requests clients keep some dozens. */
const openMax = 10_000
const pendingMax = 100_000

interface OpenFile {
  readonly path: Buffer
  readonly activity: FileActivity
  readonly up: Content
  readonly down: Content
}

/** What an answer with this id is about. */
type Pending =
  | { readonly kind: 'activity'; readonly activity: FileActivity }
  | { readonly kind: 'open'; readonly file: OpenFile }
  | { readonly kind: 'close'; readonly file: OpenFile }
  | { readonly kind: 'read'; readonly file: OpenFile; readonly offset: number }
  | { readonly kind: 'unrecorded' }

const unrecorded: Pending = { kind: 'unrecorded' }
/** The only one without an id. */
const requestInit = 1

export function observeSftp(sink: AuditSink, clock: Clock, channel: number): ChannelObserver {
  const activities = new FileActivities(sink, clock, channel)
  const files = new Map<string, OpenFile>()
  const pending = new Map<number, Pending>()
  /** Where the data that passes now belongs. */
  let writing: { readonly content: Content; offset: number; left: number } | undefined
  let reading: typeof writing
  let over = false

  function expect(id: number, what: Pending): void {
    if (pending.size >= pendingMax) throw violation(`over ${pendingMax} requests at a time`)
    // Two requests of one id: the answer to the first is the one that comes first, and nobody could tell.
    if (pending.has(id)) throw violation(`request ${id} was asked twice`)
    pending.set(id, what)
  }

  function pass(to: typeof writing, bytes: Buffer): typeof writing {
    if (to === undefined) return undefined
    const piece = bytes.subarray(0, to.left)
    to.content.add(to.offset, piece)
    to.offset += piece.length
    to.left -= piece.length
    return to.left > 0 ? to : undefined
  }

  const text = (reader: ByteReader): Buffer => Buffer.from(reader.bytes(reader.u32()))
  const handle = (reader: ByteReader): string => {
    const length = reader.u32()
    if (length > handleBytesMax) throw violation(`a handle of ${length} bytes`)
    return reader.bytes(length).toString('latin1')
  }

  function begin(id: number, operation: FileOperation, path: Buffer, target?: Buffer): void {
    expect(id, { kind: 'activity', activity: activities.begin(operation, path, target) })
  }

  function extended(id: number, reader: ByteReader): void {
    const name = text(reader).toString('latin1')
    if (extendedHarmless.has(name)) return expect(id, unrecorded)
    const two = extendedTwo[name]
    if (two !== undefined) return begin(id, two, text(reader), text(reader))
    const one = extendedOne[name]
    if (one !== undefined) return begin(id, one, text(reader))
    // What nobody here knows may do anything: it is on record by its name.
    begin(id, name === 'copy-data' ? 'copy' : 'other', Buffer.from(name))
  }

  const fromClient = new SftpPackets({
    hold(type, bodyBytes) {
      if (type === request.write) return writeHeadBytes
      return Object.values(request).some((known) => known === type) ? bodyBytes : 4
    },
    packet(type, held, bodyBytes) {
      if (type === requestInit) return
      const reader = new ByteReader(held)
      const id = reader.u32()
      if (type === request.open) {
        const path = text(reader)
        const flags = reader.u32()
        if (files.size >= openMax) throw violation(`over ${openMax} open files`)
        const activity = activities.begin(operationOf(flags), path, undefined, remarkOf(flags))
        const file = { path, activity, up: new Content(), down: new Content() }
        expect(id, { kind: 'open', file })
      } else if (type === request.write) {
        expect(id, unrecorded)
        const file = files.get(handle(reader))
        const offset = reader.u64()
        const left = reader.u32()
        if (left > bodyBytes - reader.offset) throw violation('a WRITE longer than its packet')
        if (file === undefined) return
        writing = pass({ content: file.up, offset, left }, held.subarray(reader.offset))
      } else if (type === request.read) {
        const file = files.get(handle(reader))
        const offset = reader.u64()
        expect(id, file === undefined ? unrecorded : { kind: 'read', file, offset })
      } else if (type === request.close) {
        const name = handle(reader)
        const file = files.get(name)
        files.delete(name)
        expect(id, file === undefined ? unrecorded : { kind: 'close', file })
      } else if (type === request.fsetstat) {
        const name = handle(reader)
        begin(id, 'set-attributes', files.get(name)?.path ?? Buffer.from('an open directory'))
      } else if (type === request.extended) {
        extended(id, reader)
      } else if (type === request.rename) {
        begin(id, 'rename', text(reader), text(reader))
      } else if (type === request.symlink) {
        // OpenSSH's server has the two in the opposite order of the draft: what it points to comes first.
        const target = text(reader)
        begin(id, 'symbolic-link', text(reader), target)
      } else {
        const operation = onePath[type]
        if (operation !== undefined) begin(id, operation, text(reader))
        else if (harmless.has(type)) expect(id, unrecorded)
        // What nobody here knows may do anything: it is on record by its number.
        else begin(id, 'other', Buffer.from(`request of type ${type}`))
      }
    },
    rest: (bytes) => (writing = pass(writing, bytes)),
  })

  function status(id: number, code: number, message: string): void {
    const about = pending.get(id)
    if (about === undefined) return
    pending.delete(id)
    // A READ past the end is how a file's end is told.
    if (about.kind === 'read' || about.kind === 'unrecorded') return
    const activity = about.kind === 'activity' ? about.activity : about.file.activity
    const content = about.kind === 'close' ? about.file : undefined
    if (code === 0) activities.succeeded(activity, content)
    else activities.failed(activity, `SSH_FX_${code}`, message.slice(0, 1_000), content)
  }

  const fromUpstream = new SftpPackets({
    hold(type, bodyBytes) {
      if (type === answer.data) return 8
      if (type === answer.status || type === answer.handle) return bodyBytes
      return type === answer.name || type === answer.attrs || type === answer.extended ? 4 : 0
    },
    packet(type, held) {
      if (held.length < 4) return
      const reader = new ByteReader(held)
      const id = reader.u32()
      if (type === answer.status) {
        const code = reader.u32()
        status(id, code, reader.remaining >= 4 ? text(reader).toString('utf8') : '')
      } else if (type === answer.handle) {
        const about = pending.get(id)
        if (about === undefined) return
        pending.delete(id)
        if (about.kind === 'open') files.set(handle(reader), about.file)
        else if (about.kind === 'activity') activities.succeeded(about.activity)
      } else if (type === answer.data) {
        const about = pending.get(id)
        if (about?.kind !== 'read') return
        pending.delete(id)
        reading = { content: about.file.down, offset: about.offset, left: reader.u32() }
        if (reading.left === 0) reading = undefined
      } else if (type === answer.name || type === answer.attrs || type === answer.extended) {
        // The answer to a READLINK or to an extended request.
        status(id, 0, '')
      }
    },
    rest: (bytes) => (reading = pass(reading, bytes)),
  })

  return {
    fromClient: (bytes) => guarded(() => fromClient.push(bytes)),
    fromUpstream: (bytes) => guarded(() => fromUpstream.push(bytes)),
    end() {
      if (over) return
      over = true
      for (const about of pending.values()) {
        if (about.kind === 'read' || about.kind === 'unrecorded') continue
        const file = about.kind === 'activity' ? undefined : about.file
        activities.cutShort(about.kind === 'activity' ? about.activity : about.file.activity, file)
      }
      for (const file of files.values()) activities.cutShort(file.activity, file)
      pending.clear()
      files.clear()
    },
  }
}

function operationOf(flags: number): FileOperation {
  if ((flags & openFlags.write) === 0) return 'read'
  return (flags & openFlags.read) === 0 ? 'write' : 'read-write'
}

function remarkOf(flags: number): string {
  const names = (['append', 'create', 'truncate'] as const).filter(
    (name) => (flags & openFlags[name]) !== 0,
  )
  return names.join(', ')
}

function violation(why: string): SallyportError {
  return new SallyportError('protocol-violation', `SFTP: ${why}`, {
    clientMessage: 'this does not look like SFTP',
    hint: 'use an SFTP client (sftp, scp, rsync -e ssh, sshfs)',
  })
}

function guarded(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (error instanceof SallyportError && error.hint !== undefined) throw error
    throw violation(error instanceof Error ? error.message : String(error))
  }
}
