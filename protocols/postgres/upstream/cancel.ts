import type { Socket } from 'node:net'
import type { Host } from '../../engine.ts'
import type { Session } from '../../session.ts'
import { startupCodes } from '../wire/startup.ts'
import { encrypt } from './tls.ts'

/**
 * Cancels what runs at the resource, on a connection of its own, encrypted as the session's is. Resolves when the server
 * has closed that connection, which it does after it sent the signal, or after `upstreamConnectMs`; never
 * rejects, because the server would not say either whether anything was cancelled.
 */
export async function cancelUpstream(session: Session, key: Buffer, host: Host): Promise<void> {
  let socket: Socket | undefined
  let fail: (error: Error) => void = () => {}
  const deadline = host.clock.startTimer(host.limits.upstreamConnectMs, () => {
    fail(new Error('the cancel request took too long'))
    socket?.destroy()
  })
  try {
    const base = await session.connect()
    socket = base
    base.on('error', () => {})
    const encrypted = await encrypt(base, session.upstream, (how) => {
      fail = how
    })
    await new Promise<void>((resolve) => {
      encrypted.once('close', resolve)
      encrypted.on('error', () => encrypted.destroy())
      encrypted.resume()
      // The server closes first: our end would make an encrypted socket give up what it has not read.
      encrypted.write(cancelPacket(key))
    })
  } catch (error) {
    host.log.warn({ error, sessionId: session.labels.sessionId }, 'cancel request failed')
  } finally {
    deadline.cancel()
    socket?.destroy()
  }
}

function cancelPacket(key: Buffer): Buffer {
  const packet = Buffer.alloc(8 + key.length)
  packet.writeUInt32BE(packet.length, 0)
  packet.writeUInt32BE(startupCodes.cancel, 4)
  key.copy(packet, 8)
  return packet
}
