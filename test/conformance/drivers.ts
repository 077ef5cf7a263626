import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Client } from 'pg'
import type { ProtocolName } from '../../protocols/activity.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { EngineServer } from '../fakes/engine-server.ts'
import type { FakeGate } from '../fakes/gate.ts'
import { domain, secret, startRealPostgres, startSite } from '../fakes/postgres-site.ts'
import { httpDriver } from './http-driver.ts'
import { sshDriver } from './ssh-driver.ts'

/** What the suite needs to know of a protocol. Everything else it must be able to say in the words of the contract. */
export interface Driver {
  /** What a client hears that shows no evidence, and what the gate is asked for it. */
  readonly withoutEvidence: { readonly told: string; readonly arrivals: readonly string[] }
  /** What a client hears that goes on in the clear. */
  readonly inTheClear: RegExp
  /** A real resource; slow, so once for the suite. */
  start(): Promise<Resource>
}

export interface Resource {
  /** The credential that no client may ever see. */
  readonly secret: string
  /** The engine in front of the resource, with a gate of its own. */
  serve(limits?: Partial<Limits>): Promise<Served>
  stop(): Promise<void>
}

export interface Served {
  readonly gate: FakeGate
  readonly server: EngineServer
  /** Signs in with evidence; rejects with what the client was told. */
  open(): Promise<OpenClient>
  /** What a client that shows no evidence is told. */
  openWithoutEvidence(): Promise<string>
  /** What a client that goes on in the clear is told, and then the connection is over. */
  openInTheClear(): Promise<string>
  close(): Promise<void>
}

export interface OpenClient {
  /** Has the resource say `word`; gives everything that came back. */
  say(word: string): Promise<string>
  /** Begins something that would take minutes at the resource. */
  linger(): void
  /** All the text that the client was told when it ended, once it has. */
  readonly ended: Promise<string>
  /** Breaks off without a word. */
  vanish(): void
  /** Leaves as the protocol has it. */
  leave(): Promise<void>
}

const postgres: Driver = {
  withoutEvidence: { told: 'a client certificate is required', arrivals: ['none'] },
  inTheClear: /TLS|sslmode/i,
  async start() {
    const real = await startRealPostgres()
    return {
      secret,
      stop: () => real.stop(),
      async serve(limits = {}) {
        const site = await startSite(real, { limits })
        return {
          gate: site.gate,
          server: site.server,
          async open() {
            const client = site.client()
            const opened = openPostgres(client)
            await client.connect()
            return opened
          },
          async openWithoutEvidence() {
            const { caPem } = real.certificates
            const servername = `orders-db.${domain}`
            const client = site.client({ ssl: { servername, ca: caPem } })
            client.on('error', () => {})
            return client.connect().then(() => 'it let us in', wordsOf)
          },
          openInTheClear: () => clearPostgres(site.server.port),
          close: () => site.close(),
        }
      },
    }
  },
}

function openPostgres(client: Client): OpenClient {
  let told = ''
  const ended = new Promise<string>((resolve) => {
    client.on('error', (error) => (told += wordsOf(error)))
    client.on('end', () => resolve(told))
  })
  return {
    ended,
    async say(word) {
      const { rows } = await client.query('select $1::text as word', [word])
      return JSON.stringify(rows)
    },
    linger: () =>
      void client.query('select pg_sleep(300)').catch((error) => (told += wordsOf(error))),
    vanish() {
      const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } })
        .connection
      stream.destroy()
    },
    leave: () => client.end(),
  }
}

function wordsOf(error: unknown): string {
  const { message, hint } = error as { message: string; hint?: string }
  return [message, hint ?? ''].join('\n')
}

/** StartupMessage (PostgreSQL documentation, 54.7) without TLS before it. */
function clearPostgres(port: number): Promise<string> {
  const body = Buffer.from('\0\x03\0\0user\0me\0database\0shop\0\0', 'latin1')
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length + 4)
  return exchange(port, Buffer.concat([length, body]))
}

/** Sends bytes and gives all that comes back until the other side ends. */
export function exchange(port: number, bytes: Buffer, tls = false): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls
      ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
      : connect({ port, host: '127.0.0.1' })
    let answer = ''
    socket.on('data', (chunk) => (answer += chunk.toString('latin1')))
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
    socket.write(bytes)
  })
}

/** One for each protocol that there is: the compiler asks for it. */
export const drivers: Readonly<Record<ProtocolName, Driver>> = {
  postgres,
  ssh: sshDriver,
  http: httpDriver,
}
