import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { awaitLeftovers, writePids } from '../leftovers.ts'
import { lockDirectory } from '../lock.ts'
import { removePlace } from '../place.ts'
import { freePort } from '../ports.ts'
import { prepareCluster, type Cluster } from '../postgres/cluster.ts'
import { clusterPlace } from '../postgres/place.ts'
import { preparePackages } from '../prepare-packages.ts'
import { startSite, type Site } from '../site.ts'
import { findSshd } from '../ssh/find-sshd.ts'
import { createSupervisor } from '../supervisor.ts'
import { applyFlows } from './flows.ts'
import type { DemoOptions } from './options.ts'
import {
  keptPort,
  prepareIdentityProvider,
  type PreparedIdentityProvider,
} from './identity-files.ts'
import { adminEmail, adminGroups, signPeopleIn, type DemoPerson } from './people.ts'
import { sallyCommand, withPasswords, type DemoReady } from './ready-file.ts'
import { applyResources, bindSecrets, type DemoPlaces } from './resource.ts'
import { openShop } from './shop.ts'
import { createReadAssertion } from './read-assertion.ts'
import { startWeb1, web1Directory, type Web1, type Web1Context } from './web1.ts'
import { startWiki, wikiName, type ReadAssertion, type Wiki } from './wiki.ts'

export const demoDomain = 'access.localhost'
const host = '127.0.0.1'
const usualPorts = {
  control: 8_443,
  postgres: 15_432,
  ssh: 12_222,
  http: 18_443,
  wiki: 28_081,
  database: 25_432,
  login: 8_444,
  sshd: 22_222,
  page: 28_080,
} as const
/** Certificates of people last eight hours; the homes of a demo are never signed out. */
const renewMs = 2 * 3_600_000

export interface Demo {
  readonly ready: DemoReady
  /** Its web1 is no real sshd. */
  readonly hasStandIn: boolean
  stop(): Promise<void>
}

/** Starts all of it. Whatever goes wrong, or if `signal` aborts first, nothing stays behind. */
export async function runDemo(
  options: DemoOptions,
  context: { clock: Clock; announce: (line: string) => void; signal: AbortSignal },
): Promise<Demo> {
  const { clock, announce, signal } = context
  // PostgreSQL may have to enter it as another user; what is private in it is private by itself.
  const directory = options.directory ?? temporaryDirectory()
  mkdirSync(directory, { recursive: true, mode: 0o755 })
  const lock = await lockDirectory(directory)
  await awaitLeftovers(directory, clock)
  const supervisor = createSupervisor({
    clock,
    announce,
    onPids: (pids) => {
      if (existsSync(directory)) writePids(directory, pids)
    },
  })
  let renewal: Timer | undefined
  let web1: Web1 | undefined
  let wiki: Wiki | undefined
  const stop = async (): Promise<void> => {
    renewal?.cancel()
    web1?.close()
    wiki?.close()
    await supervisor.stop()
    if (options.directory === undefined) removeAll(directory)
    lock.close()
  }
  const abort = (): void => void supervisor.stop().catch(() => undefined)
  signal.addEventListener('abort', abort, { once: true })
  try {
    const port = (usual: number): Promise<number> =>
      freePort(options.randomPorts ? undefined : usual)
    const ports = {
      control: await port(usualPorts.control),
      postgres: await port(usualPorts.postgres),
      ssh: await port(usualPorts.ssh),
      http: await port(usualPorts.http),
      wiki: await port(usualPorts.wiki),
      database: await port(usualPorts.database),
      sshd: await port(usualPorts.sshd),
      page: await port(usualPorts.page),
      login: await freePort(
        keptPort(directory) ?? (options.randomPorts ? undefined : usualPorts.login),
      ),
    }
    const login = await prepareIdentityProvider(directory, ports.login, clock)
    preparePackages(announce)
    const sshd = findSshd(announce)
    announce('starting PostgreSQL, control and its store, and an identity provider')
    const [database, site] = await Promise.all([
      startDatabase(directory, ports.database, supervisor, clock, announce),
      startSite({
        directory,
        domain: demoDomain,
        adminEmail,
        adminGroups,
        control: { host, port: ports.control, flags: login.controlFlags },
        proxy: {
          listen: {
            postgres: { host, port: ports.postgres },
            ssh: { host, port: ports.ssh },
            http: { host, port: ports.http },
          },
        },
        demo: true,
        supervisor,
        announce,
      }),
      supervisor.start(login.program),
    ])
    web1 = await openWeb1(site, { directory, ports, found: sshd, supervisor, clock, announce })
    wiki = await startWiki(ports.wiki, { clock, readAssertion: readAssertionAt(site) })
    const places = { web1, wiki }
    bindSecrets(site.paths.proxy, database.cluster, database.passwords, places)
    const fill = () =>
      fillControl(site, database.cluster, places, { directory, provider: login, announce })
    const people = await fill()
    announce('people are signed in and resources are known; starting the proxy')
    await site.startProxy()
    const renew = (): void => {
      renewal = clock.startTimer(renewMs, () => {
        renew()
        fill().catch((error: unknown) => {
          announce(`the certificates of the demo's people were not renewed: ${String(error)}`)
        })
      })
    }
    renew()
    const ready = await describe(site, withPasswords(people, login.accounts), ports)
    return { ready, hasStandIn: web1.isStandIn, stop }
  } catch (error) {
    await stop()
    throw signal.aborted ? signal.reason : error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

async function startDatabase(
  directory: string,
  port: number,
  supervisor: Parameters<typeof startSite>[0]['supervisor'],
  clock: Clock,
  announce: (line: string) => void,
): Promise<{ cluster: Cluster; passwords: Awaited<ReturnType<typeof openShop>> }> {
  const cluster = await prepareCluster({
    directory: clusterPlace(directory),
    privateDirectory: directory,
    port,
    serverNames: ['orders-db.internal'],
    logFile: join(directory, 'logs', 'postgres.log'),
    clock,
  })
  await supervisor.start(cluster.program)
  if (cluster.created) announce('PostgreSQL is up; filling the shop with some 100,000 rows')
  return { cluster, passwords: await openShop(cluster) }
}

async function openWeb1(
  site: Site,
  { ports, ...context }: Omit<Web1Context, 'api'> & { ports: { sshd: number; page: number } },
): Promise<Web1> {
  const api = site.openApi()
  try {
    return await startWeb1(ports, { ...context, api })
  } finally {
    api.close()
  }
}

async function fillControl(
  site: Site,
  cluster: Cluster,
  places: DemoPlaces,
  place: {
    readonly directory: string
    readonly provider: PreparedIdentityProvider
    readonly announce: (line: string) => void
  },
): Promise<readonly DemoPerson[]> {
  const api = site.openApi()
  try {
    const { config, files } = site.adminHome
    const people = await signPeopleIn(api, {
      config,
      homesDirectory: join(place.directory, 'homes'),
      controlAuthorityPem: readFileSync(files.controlAuthority, 'utf8'),
      provider: place.provider,
      announce: place.announce,
    })
    await applyResources(api, cluster, places)
    await applyFlows(api)
    return people
  } finally {
    api.close()
  }
}

async function describe(
  site: Site,
  people: DemoReady['people'],
  { postgres, ssh, http }: { postgres: number; ssh: number; http: number },
): Promise<DemoReady> {
  const api = site.openApi()
  try {
    const { items } = await api.call('resources', { query: {} })
    return {
      control: { url: site.controlUrl },
      console: { url: site.controlUrl },
      domain: demoDomain,
      caFile: site.adminHome.files.serverAuthorities,
      proxy: { host, ports: { postgres, ssh, http } },
      people,
      resources: items.map(({ name, protocol, hostname, levels }) => ({
        name,
        protocol,
        hostname,
        levels,
      })),
      sally: sallyCommand,
    }
  } finally {
    api.close()
  }
}

/** The wiki knows control's address and authority, as any app that verifies who asks. */
function readAssertionAt({ controlUrl, adminHome }: Site): ReadAssertion {
  return createReadAssertion({
    audience: `https://${wikiName}.${demoDomain}`,
    issuer: `https://${demoDomain}`,
    jwksUrl: `${controlUrl}/.well-known/jwks.json?domain=${demoDomain}`,
    authorityPem: readFileSync(adminHome.files.controlAuthority, 'utf8'),
  })
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-demo-'))
  chmodSync(directory, 0o711)
  return directory
}

/** The directory of an ephemeral demo, and what it had elsewhere. */
function removeAll(directory: string): void {
  for (const name of ['postgres', web1Directory]) removePlace(directory, name)
  rmSync(directory, { recursive: true, force: true })
}
