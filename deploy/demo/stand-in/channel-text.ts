import type { ServerChannel } from 'ssh2'
import type { Streams } from './run-line.ts'

/** How commands write to a channel; what comes after its end is dropped. On a terminal lines end as terminals want it, and there is one stream. */
export function channelText(
  channel: ServerChannel,
  hasTerminal: boolean,
): Pick<Streams, 'write' | 'complain'> {
  for (const stream of [channel, channel.stderr]) stream.on('error', () => undefined)
  const isOpen = (): boolean => !channel.writableEnded && !channel.destroyed
  const plain = (text: string): void => {
    if (isOpen()) channel.write(hasTerminal ? text.replaceAll('\n', '\r\n') : text)
  }
  if (hasTerminal) return { write: plain, complain: plain }
  return {
    write: plain,
    complain(text) {
      if (isOpen()) channel.stderr.write(text)
    },
  }
}
