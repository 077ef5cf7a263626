/** WebSockets: messages that come back, and the memory of those over which nothing goes. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import { residentKb } from '../process-usage.ts'
import type { Target } from './targets.ts'

const message = 'm'.repeat(100)
/** On their way at a time, per WebSocket. */
const windowMessages = 8
const settleMs = 3_000

/** An app that sends back what it gets. */
export async function startEcho(): Promise<{ port: number; close(): void }> {
  const server: Server = createServer()
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const socket of sockets.clients) socket.terminate()
      server.close()
    },
  }
}

async function open(target: Target): Promise<WebSocket> {
  const { hostname, port, caPem, headers } = target
  const socket = new WebSocket(`wss://${hostname}:${port}/socket`, {
    ...{ ca: caPem, servername: hostname, headers, perMessageDeflate: false },
    lookup: (_name, options, done) => {
      const address = { address: '127.0.0.1', family: 4 }
      if (options.all === true) done(null, [address])
      else done(null, address.address, 4)
    },
  })
  await once(socket, 'open')
  return socket
}

/** Messages per second that went there and back. */
export async function measureMessages(
  target: Target,
  count: number,
  each: number,
  clock: Clock,
): Promise<number> {
  const sockets = await Promise.all(Array.from({ length: count }, () => open(target)))
  const startedMs = clock.monotonicMs()
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise<void>((resolve, reject) => {
          let sent = 0
          let back = 0
          const send = (): void => {
            while (sent < each && sent - back < windowMessages) {
              socket.send(message)
              sent += 1
            }
          }
          socket.on('error', reject)
          socket.on('close', () => reject(new Error(`${target.name}: closed`)))
          socket.on('message', () => {
            back += 1
            if (back === each) resolve()
            else send()
          })
          send()
        }),
    ),
  )
  const tookMs = clock.monotonicMs() - startedMs
  for (const socket of sockets) socket.terminate()
  return ((count * each) / tookMs) * 1_000
}

/**
 * Resident memory of the process in the middle per idle WebSocket, in kB. As many again are opened before and stay open: what a process takes once,
 * and what its collector gives back meanwhile, is then behind it.
 */
export async function measureMemory(target: Target, count: number, clock: Clock): Promise<number> {
  const sockets: WebSocket[] = []
  const grow = async (): Promise<number> => {
    for (let left = count; left > 0; left -= 20) {
      const some = Array.from({ length: Math.min(left, 20) }, () => open(target))
      sockets.push(...(await Promise.all(some)))
    }
    await sleep(clock, settleMs)
    return residentKb(target.pid()!)
  }
  const before = await grow()
  const after = await grow()
  for (const socket of sockets) socket.terminate()
  return (after - before) / count
}
