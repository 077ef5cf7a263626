/** One engine behind a listening port, with a fake gate, as the proxy's listener would run it. */
import { constants } from 'node:crypto'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { Engine, Gate, Host, Log } from '../../protocols/engine.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import type { ErrorCode } from '../../protocols/kit/errors.ts'
import { defaultLimits, type Limits } from '../../protocols/kit/limits.ts'
import type { TestCertificates } from './tls.ts'

export interface EngineServer {
  readonly port: number
  readonly domain: string
  readonly logged: { level: string; fields: object; message: string }[]
  /** Connections whose `serve` has not resolved. */
  readonly serving: number
  /** Rejections of `serve`, which must not happen. */
  readonly crashes: unknown[]
  readonly handshakesDone: number
  /** Codes that the engine counted as refused. */
  readonly refused: readonly ErrorCode[]
  close(): Promise<void>
}

export async function startEngineServer(options: {
  engine: Engine
  gate: Gate
  certificates: TestCertificates
  domain: string
  limits?: Partial<Limits>
  hostKeys?: Host['hostKeys']
}): Promise<EngineServer> {
  const { engine, gate, certificates, domain } = options
  const logged: EngineServer['logged'] = []
  const crashes: unknown[] = []
  const refused: ErrorCode[] = []
  const sockets = new Set<Socket>()
  let serving = 0
  let handshakesDone = 0
  const note =
    (level: string) =>
    (fields: object, message: string): void => {
      if (logged.length < 1000) logged.push({ level, fields, message })
    }
  const log: Log = {
    debug: note('debug'),
    info: note('info'),
    warn: note('warn'),
    error: note('error'),
  }
  const context = createSecureContext({
    cert: certificates.read('proxy', 'crt'),
    key: certificates.read('proxy', 'key'),
    ca: certificates.caPem,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  })
  const host: Host = {
    domain,
    clock: systemClock,
    limits: { ...defaultLimits, ...options.limits },
    log,
    tlsContext: (name) =>
      name === undefined || name === domain || name.endsWith(`.${domain}`) ? context : undefined,
    hostKeys: (name) => options.hostKeys?.(name) ?? Promise.resolve(undefined),
    refused: (code) => void refused.push(code),
    handshakeWaits: () => {},
    handshakeDone: () => {
      handshakesDone++
    },
  }
  const server = createServer({ noDelay: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    serving++
    engine.serve(socket, gate, host).then(
      () => {
        serving--
      },
      (error: unknown) => {
        serving--
        crashes.push(error)
      },
    )
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    domain,
    logged,
    crashes,
    refused,
    get serving() {
      return serving
    },
    get handshakesDone() {
      return handshakesDone
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
}
