/** A real PostgreSQL for the demo, the tests and the benchmarks: TLS only, passwords only, on 127.0.0.1 only. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile, writePrivateFile } from '../../protocols/kit/private-file.ts'
import type { ChildProgram } from '../supervisor.ts'
import { mayReach, type Account } from '../account.ts'
import { postgresAccount } from './account.ts'
import { postgresBinaries, type PostgresBinaries } from './binaries.ts'
import { createServerCertificate } from './server-certificate.ts'

export interface ClusterOptions {
  /** Made if it is missing. The account that runs PostgreSQL must be able to enter it: see `clusterPlace`. */
  readonly directory: string
  /** Of the supervisor's: holds the superuser's password. */
  readonly privateDirectory: string
  readonly port: number
  /** Names in its certificate. */
  readonly serverNames: readonly string[]
  readonly settings?: Readonly<Record<string, string>>
  readonly logFile: string
  readonly clock: Clock
}

export interface Cluster {
  readonly program: ChildProgram
  readonly port: number
  readonly serverName: string
  /** Authority of its certificate. */
  readonly authorityPem: string
  /** True if this call made the cluster. */
  readonly created: boolean
  /** A connected client of the superuser; the caller ends it. */
  superuser(database?: string): Promise<Client>
}

/** The address in `postmaster.pid` that says the server takes connections (PostgreSQL, pidfile.h). */
const statusLine = 7
const stopMs = 10_000

const baseSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  ssl: 'on',
  ssl_min_protocol_version: 'TLSv1.3',
  password_encryption: 'scram-sha-256',
  timezone: 'UTC',
  log_timezone: 'UTC',
  shared_buffers: '128MB',
  max_connections: '400',
}

/** Makes the cluster if it is not there, and says how to run it. */
export async function prepareCluster(options: ClusterOptions): Promise<Cluster> {
  const account = postgresAccount()
  const { directory, port, clock } = options
  mkdirSync(directory, { recursive: true, mode: 0o711 })
  if (!mayReach(directory, account)) throw unreachable(directory)
  const binaries = postgresBinaries(account, directory)
  const data = join(directory, 'cluster')
  const passwordFile = join(options.privateDirectory, 'superuser-password')
  const created = !existsSync(join(data, 'PG_VERSION')) || !existsSync(passwordFile)
  await endStaleServer(data, clock)
  if (created) initialise(binaries, data, passwordFile, account)
  const password = readPrivateFile(passwordFile).toString('utf8')
  const certificate = await createServerCertificate(options.serverNames, clock)
  writeOwned(join(data, 'server.crt'), certificate.certificatePem, account)
  writeOwned(join(data, 'server.key'), certificate.privateKeyPem, account)
  writeOwned(join(data, 'pg_hba.conf'), 'hostssl all all 127.0.0.1/32 scram-sha-256\n', account)
  const settings = { ...baseSettings, port: String(port), ...options.settings }
  writeOwned(join(data, 'postgresql.conf'), configurationOf(settings), account)
  return {
    program: programOf(options, binaries, data, account),
    port,
    serverName: options.serverNames[0]!,
    authorityPem: certificate.authorityPem,
    created,
    async superuser(database = 'postgres') {
      const client = new Client({
        host: '127.0.0.1',
        port,
        user: 'postgres',
        password,
        database,
        ssl: { ca: certificate.authorityPem, servername: options.serverNames[0]! },
      })
      client.on('error', () => undefined)
      await client.connect()
      return client
    },
  }
}

function programOf(
  options: ClusterOptions,
  binaries: PostgresBinaries,
  data: string,
  account: Account | undefined,
): ChildProgram {
  const guard = fileURLToPath(new URL('../guard.ts', import.meta.url))
  const { uid, gid } = account ?? { uid: 0, gid: 0 }
  return {
    name: 'postgres',
    // SIGINT is PostgreSQL's fast shutdown: it ends sessions and writes a checkpoint.
    command: [
      ...[process.execPath, guard, String(uid), String(gid), 'SIGINT'],
      ...[binaries.postgres, '-D', data],
    ],
    environment: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
    logFile: options.logFile,
    ready: () => postmasterStatus(data) === 'ready',
    prepare: () => rmSync(join(data, 'postmaster.pid'), { force: true }),
    stopMs,
  }
}

function initialise(
  binaries: PostgresBinaries,
  data: string,
  passwordFile: string,
  account: Account | undefined,
): void {
  rmSync(data, { recursive: true, force: true })
  mkdirSync(data, { mode: 0o700 })
  if (account !== undefined) chownSync(data, account.uid, account.gid)
  const password = randomBytes(24).toString('base64url')
  // Inside of the cluster's own directory nobody else can read it; initdb takes only an empty directory.
  const temporary = `${data}.password`
  writeOwned(temporary, `${password}\n`, account)
  const run = spawnSync(
    binaries.initdb,
    [
      ...['--pgdata', data, '--username', 'postgres', '--pwfile', temporary],
      ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C.UTF-8', '--no-sync'],
    ],
    {
      cwd: '/',
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
      ...account,
    },
  )
  rmSync(temporary, { force: true })
  if (run.status !== 0) {
    throw new SallyportError('internal', `initdb failed: ${run.error?.message ?? run.stderr}`, {
      clientMessage: `PostgreSQL could not make its cluster in ${data}:\n${run.stderr ?? run.error?.message}`,
      hint: 'check that there is room and that the directory can be written',
    })
  }
  writePrivateFile(passwordFile, password)
}

function writeOwned(path: string, text: string, account: Account | undefined): void {
  rmSync(path, { force: true })
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' })
  if (account !== undefined) chownSync(path, account.uid, account.gid)
}

function configurationOf(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`)
    .join('')
}

function postmasterLines(data: string): readonly string[] {
  try {
    return readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')
  } catch {
    return []
  }
}

function postmasterStatus(data: string): string {
  return postmasterLines(data)[statusLine]?.trim() ?? ''
}

/** A server that outlived its supervisor and its guard. */
async function endStaleServer(data: string, clock: Clock): Promise<void> {
  const pid = Number(postmasterLines(data)[0])
  for (let tries = 0; isPostgres(pid, data); tries += 1) {
    process.kill(pid, tries < 100 ? 'SIGINT' : 'SIGQUIT')
    await sleep(clock, 50)
  }
}

function isPostgres(pid: number, data: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 1) return false
  try {
    if (process.platform !== 'linux') return process.kill(pid, 0)
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(data)
  } catch {
    return false
  }
}

function unreachable(directory: string): SallyportError {
  return new SallyportError('config-invalid', `${directory} cannot be entered by postgres`, {
    clientMessage: `the account that runs PostgreSQL may not enter ${directory}`,
    hint: 'choose another directory, or let others enter the ones above it (chmod o+x)',
  })
}
