/**
 * Control and a proxy on one machine: starts control, which signs its first admin in, lets the proxy join, and starts it. What
 * the demo, `npm start` and the integration tests have in common.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openApi } from '../control/cli/with-api.ts'
import { readHome, type Home } from '../control/cli/home.ts'
import type { ApiClient } from '../control/api/client.ts'
import type { ProtocolName } from '../protocols/activity.ts'
import { writePrivateFile } from '../protocols/kit/private-file.ts'
import { identityFile } from '../proxy/identity/proxy-identity.ts'
import type { Address } from './address.ts'
import { controlProgram, proxyProgram } from './programs.ts'
import type { ChildProgram, Supervisor } from './supervisor.ts'

export interface SiteOptions {
  /** Holds `control`, `proxy`, `homes` and `logs`. */
  readonly directory: string
  readonly domain: string
  readonly adminEmail: string
  /** Groups of people that the admin is made in. */
  readonly adminGroups?: readonly string[]
  /** Where control listens, and where the proxy does. */
  readonly control: {
    readonly host: string
    readonly port: number
    readonly flags?: readonly string[]
  }
  readonly proxy: {
    readonly listen: Readonly<Partial<Record<ProtocolName, Address>>>
    readonly flags?: readonly string[]
  }
  /** Marks everything that is made here as a demo's. */
  readonly demo: boolean
  readonly environment?: NodeJS.ProcessEnv
  readonly supervisor: Supervisor
  readonly announce: (line: string) => void
}

export interface Site {
  readonly controlUrl: string
  readonly adminHome: Home
  readonly paths: SitePaths
  /** With the admin's certificate. The caller closes it. */
  openApi(): ApiClient
  /** Lets the proxy join if it has not, and starts it. `url`: where it finds control, if elsewhere than others do. */
  startProxy(url?: string): Promise<void>
}

export interface SitePaths {
  readonly control: string
  readonly proxy: string
  readonly adminHome: string
  readonly logs: string
}

const controlStopMs = 15_000
const proxyStopMs = 40_000

export function sitePaths(directory: string): SitePaths {
  return {
    control: join(directory, 'control'),
    proxy: join(directory, 'proxy'),
    adminHome: join(directory, 'homes', 'admin'),
    logs: join(directory, 'logs'),
  }
}

/** Starts control and waits until it answers. */
export async function startSite(options: SiteOptions): Promise<Site> {
  const paths = sitePaths(options.directory)
  for (const path of [paths.control, paths.proxy, join(options.directory, 'homes'), paths.logs]) {
    mkdirSync(path, { recursive: true, mode: 0o700 })
  }
  await options.supervisor.start(siteControl(options))
  const adminHome = readHome({ SALLY_HOME: paths.adminHome })
  const { controlUrl } = adminHome.config
  return {
    controlUrl,
    adminHome,
    paths,
    openApi: () => openApi(adminHome),
    async startProxy(url = controlUrl) {
      const tokenFile = joinTokenFile(paths)
      if (!existsSync(identityFile(paths.proxy))) {
        await writeJoinToken(tokenFile, adminHome)
        options.announce('the proxy joins with a one-time token')
      }
      await options.supervisor.start(siteProxy(options, url))
      rmSync(tokenFile, { force: true })
    },
  }
}

export function siteControl(options: SiteOptions): ChildProgram {
  const paths = sitePaths(options.directory)
  const { control, proxy } = options
  return controlProgram({
    dataDirectory: paths.control,
    logFile: join(paths.logs, 'control.log'),
    flags: [
      ...['--listen', address(control.host, control.port), '--domain', options.domain],
      ...['--bootstrap-admin', options.adminEmail, '--bootstrap-home', paths.adminHome],
      ...(options.adminGroups ?? []).flatMap((name) => ['--bootstrap-group', name]),
      ...proxyAddresses(proxy.listen),
      ...(options.demo ? ['--demo'] : []),
      ...(control.flags ?? []),
    ],
    environment: options.environment ?? process.env,
    stopMs: controlStopMs,
  })
}

export function siteProxy(options: SiteOptions, controlUrl: string): ChildProgram {
  const paths = sitePaths(options.directory)
  const { proxy } = options
  return proxyProgram({
    dataDirectory: paths.proxy,
    logFile: join(paths.logs, 'proxy.log'),
    flags: [
      ...['--control-url', controlUrl, '--join-token-file', joinTokenFile(paths)],
      ...Object.entries(proxy.listen).flatMap(([protocol, { host, port }]) => [
        ...['--listen', `${protocol}=${address(host, port)}`],
      ]),
      ...(options.demo ? ['--demo'] : []),
      ...(proxy.flags ?? []),
    ],
    environment: options.environment ?? process.env,
    stopMs: proxyStopMs,
  })
}

function joinTokenFile(paths: SitePaths): string {
  return join(paths.proxy, 'join-token')
}

async function writeJoinToken(file: string, adminHome: Home): Promise<void> {
  const api = openApi(adminHome)
  try {
    const { token } = await api.call('joinToken', { params: { name: 'default' } })
    writePrivateFile(file, `${token}\n`)
  } finally {
    api.close()
  }
}

/** What homes are told; they know one host, so a protocol that listens on another is not among it. */
function proxyAddresses(listen: SiteOptions['proxy']['listen']): string[] {
  const places = Object.entries(listen).map(
    ([protocol, { host, port }]) => [protocol, reachable(host), port] as const,
  )
  return places
    .filter(([, host]) => host === places[0]![1])
    .flatMap(([protocol, host, port]) => ['--proxy-address', `${protocol}=${address(host, port)}`])
}

/** Where a client on this machine finds who listens on all addresses. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}

function address(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
