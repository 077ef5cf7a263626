import type { Host } from '../../engine.ts'
import { sleep } from '../../kit/clock.ts'
import type { Session } from '../../session.ts'
import type { Observer } from '../observe.ts'
import type { LoggedIn } from '../upstream.ts'
import { terminateMessage } from '../wire.ts'

/** A pipeline holds several statements; each needs its own cancel. */
const cancelsMax = 16
/** Between two looks at whether the server has answered. */
const lookMs = 5
const looksPerCancel = 20

/**
 * Leaves the resource so that no backend stays behind: cancels what runs until nothing is open, says Terminate, and
 * closes. A backend that sleeps would not notice a closed connection.
 */
export async function leave(
  session: Session,
  upstream: LoggedIn,
  observer: Observer,
  cancel: () => Promise<void>,
  host: Host,
): Promise<void> {
  const { base, socket } = upstream
  if (socket.writable) {
    // Behind what still waits for its commit; what a cut session had to forward is dropped, and must be.
    if (session.signal.aborted) socket.write(terminateMessage)
    else session.forward(socket, terminateMessage)
  }
  for (let cancels = 0; cancels < cancelsMax && !observer.idle && !socket.destroyed; cancels++) {
    await cancel()
    for (let looks = 0; looks < looksPerCancel; looks++) {
      if (observer.idle || socket.destroyed) break
      await sleep(host.clock, lookMs)
    }
  }
  socket.end()
  if (!socket.destroyed && observer.idle) await sleep(host.clock, lookMs)
  // With RST a backend that is still busy fails at its next word.
  if (!socket.destroyed) base.resetAndDestroy()
  socket.destroy()
}
