/** Which observer watches a channel: by what the client asked it for. */
import type { Clock } from '../kit/clock.ts'
import type { ChannelObserver } from './observe/channel-observer.ts'
import type { AuditSink } from './observe/file-activities.ts'
import { observeScp, scpDirection } from './observe/scp.ts'
import { observeSftp } from './observe/sftp.ts'
import { observeTyped, type TypedOptions } from './observe/typed.ts'

export interface ChannelRequest extends TypedOptions {
  readonly kind: 'shell' | 'exec' | 'subsystem'
  /** The exec line, or the subsystem's name; '' for a shell. */
  readonly command: string
  readonly hasTerminal: boolean
  /** What looked like files is none: from these bytes on the stream itself is to be recorded. */
  readonly onUnclear?: () => void
}

export interface Observed {
  readonly observer: ChannelObserver
  /** The bytes are files whose content the activities speak of: no recording of the stream. */
  readonly isFileTransfer: boolean
}

/** Undefined: nothing can be told from the bytes (a command without a terminal); its recording is all there is. */
export function observeChannel(
  sink: AuditSink,
  clock: Clock,
  request: ChannelRequest,
): Observed | undefined {
  const { kind, command, hasTerminal, channel, onUnclear } = request
  // With a terminal or without: nobody types this.
  if (kind === 'subsystem' && command === 'sftp') {
    return { observer: observeSftp(sink, clock, channel), isFileTransfer: true }
  }
  // Whatever else it runs, what a person types at a terminal is echoed there.
  if (hasTerminal) return { observer: observeTyped(sink, request), isFileTransfer: false }
  if (kind === 'exec' && isSftpServer(command)) {
    return { observer: observeSftp(sink, clock, channel), isFileTransfer: true }
  }
  const scp = kind === 'exec' ? scpDirection(command) : undefined
  if (scp === undefined) return undefined
  const options = { channel, ...scp, ...(onUnclear === undefined ? {} : { onUnclear }) }
  return { observer: observeScp(sink, clock, options), isFileTransfer: true }
}

/** `sftp -s PATH` runs the server as a command. */
function isSftpServer(command: string): boolean {
  return /^(?:\/[\w./-]*\/)?sftp-server(?: +-[\w,./=-]+)* *$/.test(command)
}
