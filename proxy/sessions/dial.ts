import { connect, type Socket } from 'node:net'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'

/** A TCP connection on its way. */
export interface Dial {
  /** Rejects with `upstream-unreachable`. Never an unhandled rejection, also if nobody asks. */
  readonly socket: Promise<Socket>
  /** Gives up, or closes what was reached. */
  destroy(): void
}

export interface DialTarget {
  readonly host: string
  readonly port: number
  /** What the client may call it. */
  readonly resource: string
}

export type StartDial = (target: DialTarget, timeoutMs: number, clock: Clock) => Dial

export const startDial: StartDial = (target, timeoutMs, clock) => {
  const socket = connect({ host: target.host, port: target.port, noDelay: true, keepAlive: true })
  const reached = new Promise<Socket>((resolve, reject) => {
    const timer = clock.startTimer(timeoutMs, () => socket.destroy(new Error('no answer in time')))
    socket.once('connect', () => {
      timer.cancel()
      resolve(socket)
    })
    // Stays for the life of the socket: an error that nobody listens to ends the process.
    socket.on('error', (error) => {
      timer.cancel()
      reject(unreachable(target, error))
    })
    socket.once('close', () => {
      timer.cancel()
      reject(unreachable(target, new Error('given up')))
    })
  })
  reached.catch(() => undefined)
  return { socket: reached, destroy: () => void socket.destroy() }
}

function unreachable(target: DialTarget, cause: Error): SallyportError {
  return new SallyportError(
    'upstream-unreachable',
    `${target.resource} at ${target.host}:${target.port}: ${cause.message}`,
    {
      clientMessage: `"${target.resource}" cannot be reached from the proxy`,
      hint: 'try again later; tell the owner of the resource if it lasts',
      cause,
    },
  )
}
