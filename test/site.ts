/**
 * A real control and a real proxy, each a process of its own, in a temporary directory, and whatever they are to protect: what all stacks of
 * tests begin with. Not marked as a demo.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ProtocolName } from '../protocols/activity.ts'
import type { ApiClient } from '../control/api/client.ts'
import type { Grant } from '../control/api/shapes.ts'
import { createHomeKeys } from '../control/cli/home-keys.ts'
import { writeHome } from '../control/cli/write-home.ts'
import { freePort } from '../deploy/ports.ts'
import { siteControl, siteProxy, startSite, type Site, type SiteOptions } from '../deploy/site.ts'
import { createSupervisor, type ChildProgram, type Supervisor } from '../deploy/supervisor.ts'
import { systemClock as clock } from '../protocols/kit/clock.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import type { Level } from '../protocols/session.ts'
import { seedStores } from './seed-stores.ts'

export const host = '127.0.0.1'

export interface TestSiteOptions {
  /** Of its temporary directory. */
  readonly name: string
  readonly domain: string
  readonly protocols: readonly ProtocolName[]
  readonly controlFlags?: readonly string[]
  readonly proxyFlags?: readonly string[]
  /** Of control and the proxy, besides the inherited one. */
  readonly environment?: Readonly<Record<string, string>>
}

/** What is there before control is. */
export interface TestSite {
  readonly directory: string
  /** Of the resource's server, which is stopped after control. */
  readonly resources: Supervisor
  /** Starts control. */
  open(): Promise<OpenTestSite>
  stop(): Promise<void>
}

export interface OpenTestSite {
  readonly site: Site
  /** With the admin's certificate. */
  readonly api: ApiClient
  readonly ports: Readonly<Record<'control' | ProtocolName, number>>
  /** By default the proxy does not wait for sessions when it is stopped. */
  startProxy(settings: {
    policy: string
    limits?: Partial<Limits> | undefined
    controlUrl?: string
  }): Promise<void>
  person(name: string): Promise<TestPerson>
  grant(email: string, resource: string, level: Level, forMs: number): Promise<Grant>
  pid(name: 'control' | 'proxy'): number
  /** Ends it without a restart, as its operator would. */
  stopProcess(name: 'control' | 'proxy'): Promise<void>
  startProcess(name: 'control' | 'proxy'): Promise<void>
  log(name: string): string
}

export interface TestPerson {
  readonly id: string
  readonly email: string
  readonly home: string
  readonly certificatePem: string
  readonly keyPem: string
  /** Lines of public keys. */
  readonly sshHostAuthorities: readonly string[]
}

const quiet = (): undefined => undefined
const makeSupervisor = (): Supervisor => createSupervisor({ clock, announce: quiet })

export function prepareTestSite(options: TestSiteOptions): TestSite {
  const directory = mkdtempSync(join(tmpdir(), `sallyport-${options.name}-`))
  // Servers of resources run as others there.
  chmodSync(directory, 0o755)
  const resources = makeSupervisor()
  const own = { control: makeSupervisor(), proxy: makeSupervisor() }
  let api: ApiClient | undefined
  return {
    ...{ directory, resources },
    async open() {
      const [control, ...listening] = await Promise.all(
        ['control', ...options.protocols].map(() => freePort()),
      )
      const listen = Object.fromEntries(
        options.protocols.map((protocol, index) => [protocol, { host, port: listening[index]! }]),
      )
      const siteOptions = siteOptionsOf(directory, control!, listen, options, own)
      if (options.environment?.['DATABASE_URL'] === undefined) {
        await seedStores(join(directory, 'control', 'store'))
      }
      const site = await startSite(siteOptions)
      api = site.openApi()
      const numbers = Object.entries(listen).map(([protocol, { port }]) => [protocol, port])
      const ports = { control: control!, ...Object.fromEntries(numbers) } as OpenTestSite['ports']
      return openSite({ directory, site, siteOptions, api, ports, own })
    },
    async stop() {
      api?.close()
      for (const each of [own.proxy, own.control, resources]) await each.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

type OwnSupervisors = Record<'control' | 'proxy', Supervisor>

function siteOptionsOf(
  directory: string,
  controlPort: number,
  listen: SiteOptions['proxy']['listen'],
  { domain, controlFlags = [], proxyFlags = [], environment }: TestSiteOptions,
  own: OwnSupervisors,
): SiteOptions {
  const flags = ['--metrics-listen', `${host}:0`, ...controlFlags]
  return {
    ...{ directory, domain },
    adminEmail: 'admin@example.test',
    control: { host, port: controlPort, flags },
    proxy: { listen, flags: proxyFlags },
    demo: false,
    environment: { ...process.env, ...environment },
    // Control is started by its own supervisor and the proxy by its own, so that a test can stop either.
    supervisor: {
      start: (program) => own[program.name as 'control' | 'proxy'].start(program),
      pid: (name) => own[name as 'control' | 'proxy'].pid(name),
      stop: () => Promise.resolve(),
    },
    announce: quiet,
  }
}

function openSite(made: {
  directory: string
  site: Site
  siteOptions: SiteOptions
  api: ApiClient
  ports: OpenTestSite['ports']
  own: OwnSupervisors
}): OpenTestSite {
  const { directory, site, siteOptions, api, ports, own } = made
  let url = site.controlUrl
  const programOf = (name: 'control' | 'proxy'): ChildProgram =>
    name === 'control' ? siteControl(siteOptions) : siteProxy(siteOptions, url)
  return {
    ...{ site, api, ports },
    async startProxy({ policy, limits, controlUrl = url }) {
      url = controlUrl
      writeFileSync(join(site.paths.proxy, 'policy.yaml'), policy)
      const settings = { limits: { drainMs: 0, ...limits } }
      writeFileSync(join(site.paths.proxy, 'proxy.yaml'), JSON.stringify(settings))
      await site.startProxy(url)
    },
    async person(name) {
      const email = `${name}@example.test`
      const { id } = await api.call('personCreate', { body: { email, name } })
      const keys = await createHomeKeys()
      const issued = await api.call('certificateIssue', { params: { id }, body: keys.ask })
      const home = join(directory, 'homes', name)
      writeHome(home, { ...site.adminHome.config, email }, keys, issued)
      const sshHostAuthorities = issued.sshHostAuthorities ?? []
      const { certificatePem } = issued
      return { id, email, home, certificatePem, keyPem: keys.privateKeyPem, sshHostAuthorities }
    },
    grant: (person, resource, level, forMs) =>
      api.call('grantMake', {
        body: { person, resource, level, forMs, reason: 'a test needs it' },
      }),
    pid(name) {
      const pid = own[name].pid(name)
      if (pid === undefined) throw new Error(`${name} does not run`)
      return pid
    },
    stopProcess: (name) => own[name].stop(),
    async startProcess(name) {
      own[name] = makeSupervisor()
      await own[name].start(programOf(name))
    },
    log: (name) => readFileSync(join(directory, 'logs', `${name}.log`), 'utf8'),
  }
}
