/**
 * A real PostgreSQL, a real control and a real proxy, each a process of its own, in a temporary directory: for the integration
 * tests, the faults and the benchmarks. Not marked as a demo.
 */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve as resolvePath } from 'node:path'
import type { ApiClient } from '../control/api/client.ts'
import type { Resource } from '../control/api/resource.ts'
import type { Grant } from '../control/api/shapes.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../control/api/sealed-secrets.ts'
import { freePort } from '../deploy/ports.ts'
import { prepareCluster, type Cluster } from '../deploy/postgres/cluster.ts'
import type { Site } from '../deploy/site.ts'
import type { Supervisor } from '../deploy/supervisor.ts'
import { systemClock as clock } from '../protocols/kit/clock.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import { levels, type Level } from '../protocols/session.ts'
import { host, prepareTestSite, type TestPerson } from './site.ts'

export const stackDomain = 'access.test'
export const stackResource = 'orders-db'
export const stackDatabase = 'shop'

export interface StackOptions {
  readonly postgresSettings?: Readonly<Record<string, string>>
  readonly controlFlags?: readonly string[]
  readonly proxyFlags?: readonly string[]
  /** Of the proxy. By default it does not wait for sessions when it is stopped. */
  readonly limits?: Partial<Limits>
  /** Of control and the proxy, besides the inherited one. */
  readonly environment?: Readonly<Record<string, string>>
  /** Parts of the resource that differ from the usual. */
  readonly resource?: Partial<Resource>
  /** Puts something between the proxy and control: is told control's port, and returns the one that the proxy is to use. */
  readonly between?: (controlPort: number) => Promise<number>
}

export interface StackPerson extends TestPerson {
  /** Environment of libpq for a resource through the proxy. */
  psqlEnvironment(options?: {
    resource?: string
    user?: string
    database?: string
  }): NodeJS.ProcessEnv
}

export interface Ran {
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

export interface Stack {
  readonly directory: string
  readonly site: Site
  readonly cluster: Cluster
  /** With the admin's certificate. */
  readonly api: ApiClient
  readonly proxyPort: number
  /** The same for SSH. */
  readonly sshPort: number
  /** Authorities of the proxy's certificate. */
  readonly caFile: string
  readonly passwords: ReadonlyMap<Level, string>
  person(name: string): Promise<StackPerson>
  grant(
    person: StackPerson,
    options: { level?: Level; forMs: number; resource?: string },
  ): Promise<Grant>
  pid(name: 'control' | 'proxy' | 'postgres'): number
  /** Ends it without a restart, as its operator would. */
  stopProcess(name: 'control' | 'proxy'): Promise<void>
  startProcess(name: 'control' | 'proxy'): Promise<void>
  /** Runs `sally` in a home. */
  sally(home: string, ...parameters: string[]): Promise<Ran>
  stop(): Promise<void>
}

/** The account behind a level: `orders_read`. */
export const accountOf = (level: Level): string => `orders_${level}`

export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const { controlFlags = [], proxyFlags = [], environment = {}, limits } = options
  const prepared = prepareTestSite({
    ...{ name: 'stack', domain: stackDomain, protocols: ['postgres', 'ssh'] },
    ...{ controlFlags, proxyFlags, environment },
  })
  const { directory } = prepared
  try {
    const cluster = await prepareCluster({
      directory: join(directory, 'postgres'),
      privateDirectory: directory,
      port: await freePort(),
      serverNames: ['orders-db.internal', 'localhost'],
      settings: { fsync: 'off', ...options.postgresSettings },
      logFile: join(directory, 'postgres.log'),
      clock,
    })
    const [passwords, opened] = await Promise.all([
      startDatabase(cluster, prepared.resources),
      prepared.open(),
    ])
    const { site, api, ports } = opened
    bindSecrets(site.paths.proxy, cluster, passwords)
    await api.call('resourcesApply', {
      body: { file: { resources: [{ ...usualResource(cluster), ...options.resource }] } },
    })
    const controlUrl = new URL(site.controlUrl)
    const port = await options.between?.(ports.control)
    if (port !== undefined) controlUrl.port = String(port)
    const policy = policyOf(cluster)
    await opened.startProxy({ policy, limits, controlUrl: controlUrl.origin })
    return {
      ...{ directory, site, cluster, api, passwords },
      proxyPort: ports.postgres,
      sshPort: ports.ssh,
      caFile: site.adminHome.files.serverAuthorities,
      person: async (name) => withPsql(await opened.person(name), ports.postgres),
      grant: (person, { level = 'read', forMs, resource = stackResource }) =>
        opened.grant(person.email, resource, level, forMs),
      pid(name) {
        if (name !== 'postgres') return opened.pid(name)
        const pid = prepared.resources.pid(name)
        if (pid === undefined) throw new Error(`${name} does not run`)
        return pid
      },
      stopProcess: (name) => opened.stopProcess(name),
      startProcess: (name) => opened.startProcess(name),
      sally: (home, ...parameters) => run('control/cli/sally', parameters, { SALLY_HOME: home }),
      stop: () => prepared.stop(),
    }
  } catch (error) {
    await prepared.stop()
    throw error
  }
}

async function startDatabase(
  cluster: Cluster,
  supervisor: Supervisor,
): Promise<ReadonlyMap<Level, string>> {
  await supervisor.start(cluster.program)
  const passwords = new Map(levels.map((level) => [level, `password of ${level}`]))
  const server = await cluster.superuser()
  for (const [level, password] of passwords) {
    await server.query(`create role ${accountOf(level)} login password '${password}'`)
  }
  await server.query(`create database ${stackDatabase} owner ${accountOf('admin')}`)
  await server.end()
  const database = await cluster.superuser(stackDatabase)
  await database.query(`alter schema public owner to ${accountOf('admin')}`)
  for (const [level, rights] of [
    ['read', 'select'],
    ['write', 'select, insert, update'],
    ['delete', 'select, insert, update, delete'],
  ] as const) {
    await database.query(`grant usage on schema public to ${accountOf(level)}`)
    await database.query(
      `alter default privileges for role ${accountOf('admin')} in schema public
       grant ${rights} on tables to ${accountOf(level)}`,
    )
  }
  await database.end()
  return passwords
}

function bindSecrets(
  proxyDirectory: string,
  cluster: Cluster,
  passwords: ReadonlyMap<Level, string>,
): void {
  const { file, keyFile } = sealedSecretsIn(proxyDirectory)
  const secrets = [...passwords].map(
    ([level, text]) => [`${stackResource}/${level}`, text] as const,
  )
  writeSealedSecrets(file, keyFile, new Map(secrets))
  writeFileSync(join(proxyDirectory, 'upstream-ca.pem'), cluster.authorityPem)
}

function policyOf(cluster: Cluster): string {
  return `secrets:
  - reference: "sealed:${stackResource}/*"
    addresses: ["127.0.0.1:${cluster.port}"]
    serverName: ${cluster.serverName}
    caFile: upstream-ca.pem
    levels: [read, write, delete, admin]
`
}

function usualResource(cluster: Cluster) {
  return {
    name: stackResource,
    protocol: 'postgres' as const,
    address: { host, port: cluster.port },
    tls: { mode: 'verify-full' as const, serverName: cluster.serverName },
    levels: Object.fromEntries(
      levels.map((level) => [
        level,
        { account: accountOf(level), secret: `sealed:${stackResource}/${level}` },
      ]),
    ),
  }
}

function withPsql(person: TestPerson, port: number): StackPerson {
  return {
    ...person,
    psqlEnvironment: ({ resource = stackResource, user, database = stackDatabase } = {}) => ({
      PGHOST: `${resource}.${stackDomain}`,
      PGHOSTADDR: host,
      PGPORT: String(port),
      PGDATABASE: database,
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: join(person.home, 'ca.pem'),
      PGSSLCERT: join(person.home, 'cert.pem'),
      PGSSLKEY: join(person.home, 'key.pem'),
      ...(user === undefined ? {} : { PGUSER: user }),
    }),
  }
}

/** Runs a program to its end; a path is taken from the root of the repository. */
export function run(
  command: string,
  parameters: readonly string[],
  environment: NodeJS.ProcessEnv,
  input?: string,
): Promise<Ran> {
  const path = command.includes('/') ? resolvePath(import.meta.dirname, '..', command) : command
  return new Promise((resolve, reject) => {
    const child = spawn(path, parameters, { env: { ...process.env, ...environment } })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    child.stdin.on('error', () => undefined)
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output, errors }))
    child.stdin.end(input)
  })
}

/** psql with one command or the standard input, unaligned and without a header. */
export function psql(
  environment: NodeJS.ProcessEnv,
  sql: string,
  ...parameters: string[]
): Promise<Ran> {
  return run('psql', ['-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1', ...parameters], environment, sql)
}

export function readLog(stack: Pick<Stack, 'directory'>, name: 'control' | 'proxy'): string {
  return readFileSync(join(stack.directory, 'logs', `${name}.log`), 'utf8')
}
