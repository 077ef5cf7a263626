import { createHash } from 'node:crypto'

/** RFC 6455, 1.3. */
const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** `Sec-WebSocket-Accept` for a client's key: what shows that it was understood (RFC 6455, 4.2.2). */
export function webSocketAccept(key: string): string {
  return createHash('sha1').update(`${key}${guid}`).digest('base64')
}
