import { sshU32 } from '../../kit/ssh-wire.ts'
import { openFailures } from '../wire.ts'
import type { Channel } from '../wire/channel.ts'
import type { Opening } from '../wire/connection.ts'

/** What starts a program: there is somebody to read what went wrong. */
const starts = new Set(['shell', 'exec', 'subsystem'])

/** Takes a channel, says a text on its standard error as soon as a program is asked for, and ends with this status. */
export function tellChannel(opening: Opening, text: string, status: number): void {
  if (opening.type !== 'session') {
    opening.refuse(openFailures.administrativelyProhibited, text)
    return
  }
  const channel: Channel = opening.accept({
    data: (bytes) => channel.consumed(bytes.length),
    eof() {},
    closed: () => channel.closeNow(),
    drained() {},
    request(type, wantsReply) {
      if (wantsReply) channel.reserveReply()(starts.has(type) || type === 'pty-req')
      if (starts.has(type)) leaveChannel(channel, text, status)
    },
  })
}

/** Says a text on standard error and ends the channel with this status. */
export function leaveChannel(channel: Channel, text: string, status: number): void {
  channel.write(Buffer.from(`${text.replaceAll('\n', '\r\n')}\r\n`), 1)
  channel.requestInOrder('exit-status', sshU32(status))
  channel.eof()
  channel.close()
}
