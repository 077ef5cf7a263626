import { createServer, type AddressInfo } from 'node:net'

/** A port of 127.0.0.1 that is free now: the preferred one if it is, else any. */
export async function freePort(preferred?: number): Promise<number> {
  const port = preferred === undefined ? undefined : await tryPort(preferred)
  const any = port ?? (await tryPort(0))
  if (any === undefined) throw new Error('no port of 127.0.0.1 is free')
  return any
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
