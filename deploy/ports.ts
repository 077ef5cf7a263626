import { randomInt } from 'node:crypto'
import { createServer, type AddressInfo } from 'node:net'

/**
 * Where any free port is looked for: below those that Linux lends to outgoing connections (from 32,768), one of which could take it before
 * whoever asked for it listens there, or while they are started again.
 */
const anyPort = { from: 20_000, below: 32_768 }
const triesMax = 100

/** A port of 127.0.0.1 that is free now: the preferred one if it is, else any. */
export async function freePort(preferred?: number): Promise<number> {
  const port = preferred === undefined ? undefined : await tryPort(preferred)
  if (port !== undefined) return port
  for (let tries = 0; tries < triesMax; tries += 1) {
    const any = await tryPort(randomInt(anyPort.from, anyPort.below))
    if (any !== undefined) return any
  }
  throw new Error('no port of 127.0.0.1 is free')
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.on('error', () => resolve(undefined))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const { port: bound } = server.address() as AddressInfo
      server.close(() => resolve(bound))
    })
  })
}
