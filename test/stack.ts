/**
 * A real PostgreSQL, a real control and a real proxy, each a process of its own, in a temporary directory: for the integration
 * tests, the faults and the benchmarks. Not marked as a demo.
 */
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve as resolvePath } from 'node:path'
import type { ApiClient } from '../control/api/client.ts'
import type { Resource } from '../control/api/resource.ts'
import type { Grant } from '../control/api/shapes.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../control/api/sealed-secrets.ts'
import { createHomeKeys } from '../control/cli/home-keys.ts'
import { writeHome } from '../control/cli/write-home.ts'
import { freePort } from '../deploy/ports.ts'
import { prepareCluster, type Cluster } from '../deploy/postgres/cluster.ts'
import { siteControl, siteProxy, startSite, type Site, type SiteOptions } from '../deploy/site.ts'
import { createSupervisor, type Supervisor } from '../deploy/supervisor.ts'
import { systemClock as clock } from '../protocols/kit/clock.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import { levels, type Level } from '../protocols/session.ts'
import { seedStores } from './seed-stores.ts'

export const stackDomain = 'access.test'
export const stackResource = 'orders-db'
export const stackDatabase = 'shop'
const host = '127.0.0.1'

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

export interface StackPerson {
  readonly id: string
  readonly email: string
  readonly home: string
  /** Environment of libpq for a resource through the proxy. */
  psqlEnvironment(options?: {
    resource?: string
    user?: string
    database?: string
  }): NodeJS.ProcessEnv
  /** PEMs for clients that are not libpq. */
  readonly certificatePem: string
  readonly keyPem: string
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
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-stack-'))
  // PostgreSQL runs as another user there.
  chmodSync(directory, 0o755)
  const quiet = (): undefined => undefined
  const supervisors: Record<'postgres' | 'control' | 'proxy', Supervisor> = {
    postgres: createSupervisor({ clock, announce: quiet }),
    control: createSupervisor({ clock, announce: quiet }),
    proxy: createSupervisor({ clock, announce: quiet }),
  }
  const closers: (() => void)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closers) close()
    for (const name of ['proxy', 'control', 'postgres'] as const) await supervisors[name].stop()
    rmSync(directory, { recursive: true, force: true })
  }
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
    const [proxyPort, sshPort] = [await freePort(), await freePort()]
    const siteOptions: SiteOptions = {
      directory,
      domain: stackDomain,
      adminEmail: 'admin@example.test',
      control: {
        host,
        port: await freePort(),
        flags: ['--metrics-listen', '127.0.0.1:0', ...(options.controlFlags ?? [])],
      },
      proxy: {
        listen: { postgres: { host, port: proxyPort }, ssh: { host, port: sshPort } },
        flags: options.proxyFlags ?? [],
      },
      demo: false,
      environment: { ...process.env, ...options.environment },
      // Control is started by its own supervisor and the proxy by its own, so that a test can stop either.
      supervisor: {
        start: (program) => supervisors[program.name as 'control' | 'proxy'].start(program),
        pid: (name) => supervisors[name as 'control' | 'proxy'].pid(name),
        stop: () => Promise.resolve(),
      },
      announce: quiet,
    }
    const seeded =
      options.environment?.['DATABASE_URL'] === undefined
        ? seedStores(join(directory, 'control', 'store'))
        : undefined
    const [passwords, site] = await Promise.all([
      startDatabase(cluster, supervisors.postgres),
      Promise.resolve(seeded).then(() => startSite(siteOptions)),
    ])
    bindSecrets(site.paths.proxy, cluster, passwords)
    const limits = { drainMs: 0, ...options.limits }
    writeFileSync(join(site.paths.proxy, 'proxy.yaml'), JSON.stringify({ limits }))
    const api = site.openApi()
    closers.push(() => api.close())
    await api.call('resourcesApply', {
      body: { file: { resources: [{ ...usualResource(cluster), ...options.resource }] } },
    })
    const controlUrl = new URL(site.controlUrl)
    const port = await options.between?.(siteOptions.control.port)
    if (port !== undefined) controlUrl.port = String(port)
    await site.startProxy(controlUrl.origin)
    const programs = {
      control: siteControl(siteOptions),
      proxy: siteProxy(siteOptions, controlUrl.origin),
    }
    const caFile = site.adminHome.files.serverAuthorities
    return {
      directory,
      site,
      cluster,
      api,
      proxyPort,
      sshPort,
      caFile,
      passwords,
      person: (name) => makePerson({ api, site, proxyPort, directory }, name),
      grant: (person, { level = 'read', forMs, resource = stackResource }) =>
        api.call('grantMake', {
          body: { person: person.email, resource, level, forMs, reason: 'a test needs it' },
        }),
      pid(name) {
        const pid = supervisors[name].pid(name)
        if (pid === undefined) throw new Error(`${name} does not run`)
        return pid
      },
      stopProcess: (name) => supervisors[name].stop(),
      async startProcess(name) {
        supervisors[name] = createSupervisor({ clock, announce: quiet })
        await supervisors[name].start(programs[name])
      },
      sally: (home, ...parameters) => run('control/cli/sally', parameters, { SALLY_HOME: home }),
      stop,
    }
  } catch (error) {
    await stop()
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
  writeFileSync(
    join(proxyDirectory, 'policy.yaml'),
    `secrets:
  - reference: "sealed:${stackResource}/*"
    addresses: ["127.0.0.1:${cluster.port}"]
    serverName: ${cluster.serverName}
    caFile: upstream-ca.pem
    levels: [read, write, delete, admin]
`,
  )
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

async function makePerson(
  stack: { api: ApiClient; site: Site; proxyPort: number; directory: string },
  name: string,
): Promise<StackPerson> {
  const { api, site, proxyPort } = stack
  const email = `${name}@example.test`
  const { id } = await api.call('personCreate', { body: { email, name } })
  const keys = await createHomeKeys()
  const issued = await api.call('certificateIssue', { params: { id }, body: keys.ask })
  const home = join(stack.directory, 'homes', name)
  writeHome(home, { ...site.adminHome.config, email }, keys, issued)
  return {
    id,
    email,
    home,
    certificatePem: issued.certificatePem,
    keyPem: keys.privateKeyPem,
    psqlEnvironment: ({ resource = stackResource, user, database = stackDatabase } = {}) => ({
      PGHOST: `${resource}.${stackDomain}`,
      PGHOSTADDR: host,
      PGPORT: String(proxyPort),
      PGDATABASE: database,
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: join(home, 'ca.pem'),
      PGSSLCERT: join(home, 'cert.pem'),
      PGSSLKEY: join(home, 'key.pem'),
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
