import type { Duplex } from 'node:stream'
import type { Clock } from '../../kit/clock.ts'
import type { Limits } from '../../kit/limits.ts'

const lingering = new WeakSet<Duplex>()

/**
 * Ends a connection of HTTP/1 after its last answer so that its client hears it (RFC 9112, 9.6): only our side is ended, and what
 * still comes is thrown away unread until the client ends too, or `lingerMs` or `lingerBytesMax` are over. A socket that is closed over
 * bytes that nobody read is reset, and with it goes what its client had not read yet.
 *
 * `words` are sent before; only the first goodbye counts.
 */
export function linger(
  socket: Duplex,
  { clock, limits }: { readonly clock: Clock; readonly limits: LingerLimits },
  words: string | Buffer = '',
): void {
  if (socket.destroyed || lingering.has(socket)) return
  lingering.add(socket)
  const deadline = clock.startTimer(limits.lingerMs, () => socket.destroy())
  socket.once('close', () => deadline.cancel())
  // Node's parser goes: what comes after the last request is none. It lets go once somebody else listens.
  socket.removeAllListeners('data')
  socket.removeAllListeners('end')
  let bytesLeft = limits.lingerBytesMax
  socket.on('data', (chunk: Buffer) => {
    bytesLeft -= chunk.length
    if (bytesLeft < 0) socket.destroy()
  })
  if (words.length === 0) socket.end()
  else socket.end(words)
  // Where the parser had stopped reading, the stream believes that it still reads; nothing, pushed, tells it otherwise.
  if (socket.readable) socket.push(nothing)
  socket.resume()
}

export type LingerLimits = Pick<Limits, 'lingerMs' | 'lingerBytesMax'>

const nothing = Buffer.alloc(0)
