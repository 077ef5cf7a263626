/** A TCP relay that stands for the network between a proxy and control: it can be cut, and it can go silent. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export interface Relay {
  readonly port: number
  /** Where new connections go: the first of these ports that accepts. */
  targets: readonly number[]
  /** Ends what is open and refuses what comes. */
  cut(): void
  /** Passes nothing on, and tells nobody: as a cable that was pulled. */
  silence(): void
  /** As at first. What was silent goes on. */
  mend(): void
  /** Ends what is open; what comes is passed on. */
  drop(): void
  close(): void
}

export async function startRelay(...targets: number[]): Promise<Relay> {
  const sockets = new Set<Socket>()
  let state: 'open' | 'cut' | 'silent' = 'open'

  const join = (near: Socket, far: Socket): void => {
    near.on('data', (chunk) => far.write(chunk))
    near.on('close', () => far.destroy())
    near.on('error', () => far.destroy())
    if (state !== 'silent') near.resume()
  }
  const keep = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  }
  const dial = (near: Socket, ports: readonly number[]): void => {
    const [port, ...others] = ports
    if (port === undefined) return void near.destroy()
    const far = connect(port, '127.0.0.1')
    const next = (): void => dial(near, others)
    far.once('error', next)
    far.once('connect', () => {
      far.off('error', next)
      if (near.destroyed) return void far.destroy()
      keep(far)
      join(near, far)
      join(far, near)
    })
  }
  const relay: Relay = {
    port: 0,
    targets,
    cut() {
      state = 'cut'
      relay.drop()
    },
    silence() {
      state = 'silent'
      for (const socket of sockets) socket.pause()
    },
    mend() {
      state = 'open'
      for (const socket of sockets) socket.resume()
    },
    drop() {
      for (const socket of sockets) socket.destroy()
    },
    close() {
      relay.cut()
      server.close()
    },
  }
  const server = createServer({ pauseOnConnect: true }, (near) => {
    near.on('error', () => near.destroy())
    if (state === 'cut') return void near.destroy()
    keep(near)
    dial(near, relay.targets)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(relay, { port: (server.address() as AddressInfo).port })
}
