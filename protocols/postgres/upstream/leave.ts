import type { Host } from '../../engine.ts'
import { sleep } from '../../kit/clock.ts'
import type { Session } from '../../session.ts'
import type { Observer } from '../observe.ts'
import type { LoggedIn } from '../upstream.ts'
import { terminateMessage } from '../wire.ts'

/** Between two looks at whether the server has answered. */
const lookMs = 2
const looks = 10
/** The first may come between two statements of a pipeline and meet neither. */
const blindCancels = 2

/**
 * Leaves the resource so that no backend stays behind: cancels what runs, says Terminate, and closes. A backend that
 * sleeps would not notice a closed connection. Where more statements wait in the server's buffer, the connection is reset
 * first: the next statement that is cancelled then fails to say so, and the backend gives up for good.
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
  if (!observer.idle) {
    await cancel()
    await answered(observer, socket, host)
  }
  if (observer.idle) {
    socket.end()
    await closed(socket, host)
  } else {
    base.resetAndDestroy()
    for (let cancels = 0; cancels < blindCancels; cancels++) await cancel()
  }
  socket.destroy()
  base.destroy()
}

/** Waits a little for the server's last answers, or for its end. */
async function answered(observer: Observer, socket: LoggedIn['socket'], host: Host): Promise<void> {
  for (let look = 0; look < looks && !observer.idle && !socket.destroyed; look++) {
    await sleep(host.clock, lookMs)
  }
}

/** What Terminate leaves to be written must be out before the socket is destroyed. */
async function closed(socket: LoggedIn['socket'], host: Host): Promise<void> {
  for (let look = 0; look < looks && !socket.destroyed; look++) await sleep(host.clock, lookMs)
}
