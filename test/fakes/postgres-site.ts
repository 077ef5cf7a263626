/** A real PostgreSQL with TLS, the engine in front of it with a fake gate, and real clients. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, type ClientConfig } from 'pg'
import { freePort } from '../../deploy/ports.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { postgres } from '../../protocols/postgres/index.ts'
import type { UpstreamTlsMode } from '../../protocols/session.ts'
import { createPostgres } from '../integration/postgres-server.ts'
import { startEngineServer, type EngineServer } from './engine-server.ts'
import { createFakeGate, type FakeGate, type FakeGateOptions } from './gate.ts'
import { copyCertificates, type TestCertificates } from './tls.ts'

export interface RealPostgres {
  readonly port: number
  readonly certificates: TestCertificates
  /** As the superuser, past the proxy. */
  query(text: string): Promise<Record<string, unknown>[]>
  stop(): Promise<void>
}

export const domain = 'access.localhost'
export const account = 'app_account'
export const secret = 'correct horse battery'

/** Accounts: `app_account` (SCRAM), `md5_account`, `clear_account`, all with the same password and all rights. */
export async function startRealPostgres(): Promise<RealPostgres> {
  const certificates = await copyCertificates(domain)
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-pg-'))
  chmodSync(directory, 0o711)
  const port = await freePort()
  const data = join(directory, 'data')
  const server = await createPostgres(data, {
    port,
    authMethod: 'password',
    postgresFlags: ['-c', 'max_connections=300', '-c', 'fsync=off'],
  })
  for (const kind of ['crt', 'key'] as const) {
    copyFileSync(certificates.file('resource', kind), join(data, `server.${kind}`))
    if (process.getuid?.() === 0) {
      execFileSync('chown', ['--reference', data, join(data, `server.${kind}`)])
    }
    chmodSync(join(data, `server.${kind}`), 0o600)
  }
  writeFileSync(
    join(data, 'pg_hba.conf'),
    [
      'local all all trust',
      'host all md5_account all md5',
      'host all clear_account all password',
      'host all all all scram-sha-256',
      '',
    ].join('\n'),
  )
  execFileSync('sh', ['-c', `echo "ssl = on" >> ${join(data, 'postgresql.conf')}`])
  await server.start()
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'postgres',
    password: 'postgres',
    database: 'postgres',
  })
  await client.connect()
  client.on('error', () => {})
  await client.query(`
    create role ${account} superuser login password '${secret}';
    set password_encryption = 'md5';
    create role md5_account superuser login password '${secret}';
    set password_encryption = 'scram-sha-256';
    create role clear_account superuser login password '${secret}';
  `)
  await client.query('create database shop')
  return {
    port,
    certificates,
    query: async (text) => (await client.query<Record<string, unknown>>(text)).rows,
    async stop() {
      await client.end()
      await server.stop()
      rmSync(directory, { recursive: true, force: true })
      certificates.remove()
    },
  }
}

export interface Site {
  readonly gate: FakeGate
  readonly server: EngineServer
  readonly conninfo: string
  /** Environment that makes libpq clients reach the proxy without more words. */
  readonly environment: NodeJS.ProcessEnv
  psql(...args: string[]): Promise<Run>
  run(command: string, args: readonly string[], input?: string): Promise<Run>
  start(command: string, args: readonly string[]): ChildProcess
  client(more?: ClientConfig): Client
  close(): Promise<void>
}

export interface Run {
  code: number | null
  stdout: string
  stderr: string
}

export async function startSite(
  real: RealPostgres,
  options: {
    tls?: UpstreamTlsMode
    limits?: Partial<Limits>
    gate?: Partial<FakeGateOptions>
  } = {},
): Promise<Site> {
  const { certificates } = real
  const gate = createFakeGate({
    upstream: {
      host: '127.0.0.1',
      port: real.port,
      serverName: 'resource.internal',
      tls: options.tls ?? 'verify-full',
      caPem: certificates.caPem,
    },
    account,
    secret,
    ...options.gate,
  })
  const server = await startEngineServer({
    engine: postgres,
    gate,
    certificates,
    domain,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    HOME: certificates.directory,
    PGHOST: `orders-db.${domain}`,
    PGHOSTADDR: '127.0.0.1',
    PGPORT: String(server.port),
    PGDATABASE: 'shop',
    PGUSER: 'me',
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: certificates.caFile,
    PGSSLCERT: certificates.file('client', 'crt'),
    PGSSLKEY: certificates.file('client', 'key'),
    PGCONNECT_TIMEOUT: '10',
  }
  const run = (command: string, args: readonly string[], input = ''): Promise<Run> =>
    new Promise((resolve, reject) => {
      const child = spawn(command, args, { env: environment })
      let stdout = ''
      let stderr = ''
      child.stdout.on('data', (chunk: Buffer) => {
        stdout += chunk.toString()
      })
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString()
      })
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, stdout, stderr }))
      child.stdin.on('error', () => {})
      child.stdin.end(input)
    })
  return {
    gate,
    server,
    environment,
    conninfo: `host=orders-db.${domain} hostaddr=127.0.0.1 port=${server.port} dbname=shop`,
    run,
    psql: (...args) => run('psql', ['-X', '-At', '-v', 'ON_ERROR_STOP=1', ...args]),
    start: (command, args) => spawn(command, args, { env: environment }),
    client: (more = {}) =>
      new Client({
        host: '127.0.0.1',
        port: server.port,
        user: 'me',
        database: 'shop',
        ssl: {
          servername: `orders-db.${domain}`,
          ca: certificates.caPem,
          cert: certificates.read('client', 'crt'),
          key: certificates.read('client', 'key'),
        },
        ...more,
      }),
    close: () => server.close(),
  }
}

/** Looks until `check` holds. */
export async function eventually(check: () => boolean | Promise<boolean>, withinMs = 30_000) {
  const startedMs = Date.now()
  for (;;) {
    if (await check()) return
    if (Date.now() - startedMs > withinMs) throw new Error('it did not happen in time')
    await new Promise((resolve) => {
      setTimeout(resolve, 10)
    })
  }
}
