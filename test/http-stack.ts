/**
 * A real control and a real proxy before an HTTP app of the test's: for the integration tests, the faults and the benchmarks of HTTP. Not marked
 * as a demo.
 */
import { spawn } from 'node:child_process'
import type { z } from 'zod'
import type { ApiClient } from '../control/api/client.ts'
import type { resource } from '../control/api/resource.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../control/api/sealed-secrets.ts'
import type { ActivityView, Grant, SessionView } from '../control/api/shapes.ts'
import { homeFiles, readHome } from '../control/cli/home.ts'
import { openApi } from '../control/cli/with-api.ts'
import type { Site } from '../deploy/site.ts'
import type { Limits } from '../protocols/kit/limits.ts'
import { levels, type Level } from '../protocols/session.ts'
import { eventually } from './demo-site.ts'
import { ranToEnd, type Ran } from './ran-to-end.ts'
import { host, prepareTestSite, type TestPerson } from './site.ts'

export const httpDomain = 'access.test'

type ResourceInput = z.input<typeof resource>

/** One app, and what is particular about it. */
export interface StackApp {
  readonly port: number
  readonly tls?: ResourceInput['tls']
  readonly http?: ResourceInput['http']
  /** What is shown to the app at each level; none where the credential is of kind none. */
  readonly secret?: string
  /** PEM, under `verify-full`. */
  readonly caFile?: string
  /** Parts of the resource that differ from the usual. */
  readonly resource?: Partial<ResourceInput>
}

export interface HttpStackOptions {
  readonly apps: Readonly<Record<string, StackApp>>
  readonly limits?: Partial<Limits>
  readonly controlFlags?: readonly string[]
  readonly proxyFlags?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
}

export interface HttpPerson extends TestPerson {
  /** With their certificate. */
  readonly api: ApiClient
  /** Authorities of the proxy's certificate. */
  readonly caFile: string
  readonly certificateFile: string
  readonly keyFile: string
  /** A token of scope `apps`. */
  token(forMs?: number): Promise<string>
  /** curl with the authority of the proxy, and with the person's certificate unless told otherwise. `path` of an app, or a whole URL. */
  curl(app: string, path: string, args?: readonly string[], as?: 'nobody'): Promise<Ran>
}

export interface HttpStack {
  readonly directory: string
  readonly site: Site
  /** With the admin's certificate. */
  readonly api: ApiClient
  readonly httpPort: number
  readonly caFile: string
  /** `https://<app>.access.test:<port>` */
  origin(app: string): string
  person(name: string): Promise<HttpPerson>
  grant(
    person: Pick<TestPerson, 'email'>,
    app: string,
    options?: { level?: Level; forMs?: number },
  ): Promise<Grant>
  /** What one did, oldest first, once `ready` likes it. */
  activities(
    person: Pick<TestPerson, 'email'>,
    ready: (found: readonly ActivityView[]) => boolean,
  ): Promise<readonly ActivityView[]>
  sessions(
    person: Pick<TestPerson, 'email'>,
    ready: (found: readonly SessionView[]) => boolean,
  ): Promise<readonly SessionView[]>
  pid(name: 'control' | 'proxy'): number
  stopProcess(name: 'control' | 'proxy'): Promise<void>
  startProcess(name: 'control' | 'proxy'): Promise<void>
  log(name: 'control' | 'proxy'): string
  stop(): Promise<void>
}

export async function startHttpStack(options: HttpStackOptions): Promise<HttpStack> {
  const { apps, controlFlags = [], proxyFlags = [], environment = {}, limits } = options
  const prepared = prepareTestSite({
    ...{ name: 'http-stack', domain: httpDomain, protocols: ['http'] },
    ...{ controlFlags, proxyFlags, environment },
  })
  const { directory } = prepared
  const clients: ApiClient[] = []
  const stop = async (): Promise<void> => {
    for (const client of clients) client.close()
    await prepared.stop()
  }
  try {
    const opened = await prepared.open()
    const { site, api, ports } = opened
    const caFile = site.adminHome.files.serverAuthorities
    const resources = Object.entries(apps).map(([name, app]) => resourceOf(name, app))
    await api.call('resourcesApply', { body: { file: { resources } } })
    const { file, keyFile } = sealedSecretsIn(site.paths.proxy)
    const secrets = Object.entries(apps).flatMap(([name, { secret }]) =>
      secret === undefined ? [] : [[name, secret] as const],
    )
    writeSealedSecrets(file, keyFile, new Map(secrets))
    const rules = Object.entries(apps).map(([name, app]) => ruleOf(name, app))
    await opened.startProxy({ policy: `secrets:\n${rules.join('')}`, limits })
    const origin = (app: string): string => `https://${app}.${httpDomain}:${ports.http}`
    return {
      ...{ directory, site, api, httpPort: ports.http, caFile, origin, stop },
      async person(name) {
        const person = await opened.person(name)
        const own = openApi(readHome({ SALLY_HOME: person.home }))
        clients.push(own)
        const files = homeFiles(person.home)
        return {
          ...person,
          ...{ api: own, caFile, certificateFile: files.certificate, keyFile: files.key },
          async token(forMs = 3_600_000) {
            const body = { name: 'a test', scope: 'apps' as const, forMs }
            return (await own.call('tokenMake', { body })).token
          },
          curl: (app, path, args = [], as) =>
            ranToEnd(
              spawn('curl', [
                ...['-sS', '--cacert', caFile, '--resolve', `*:${ports.http}:${host}`],
                ...(as === 'nobody' ? [] : ['--cert', files.certificate, '--key', files.key]),
                ...args,
                path.startsWith('https://') ? path : `${origin(app)}${path}`,
              ]),
            ),
        }
      },
      grant: (person, app, { level = 'read', forMs = 3_600_000 } = {}) =>
        opened.grant(person.email, app, level, forMs),
      activities: (person, ready) =>
        eventually(async () => {
          const query = { person: person.email, limit: 1_000 }
          return (await api.call('auditSearch', { query })).items.toReversed()
        }, ready),
      sessions: (person, ready) =>
        eventually(async () => {
          const query = { person: person.email, limit: 1_000 }
          return (await api.call('sessions', { query })).items
        }, ready),
      pid: (name) => opened.pid(name),
      stopProcess: (name) => opened.stopProcess(name),
      startProcess: (name) => opened.startProcess(name),
      log: (name) => opened.log(name),
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function resourceOf(name: string, { port, tls, http, secret, resource: more }: StackApp) {
  const reference = secret === undefined ? `none:${name}` : `sealed:${name}`
  return {
    name,
    protocol: 'http' as const,
    address: { host, port },
    tls: tls ?? { mode: 'disable' as const },
    levels: Object.fromEntries(
      levels.map((level) => [level, { account: level, secret: reference }]),
    ),
    http: http ?? {},
    ...more,
  }
}

function ruleOf(name: string, { port, tls, http, secret, caFile }: StackApp): string {
  return `  - reference: "${secret === undefined ? 'none' : 'sealed'}:${name}"
    addresses: ["${host}:${port}"]
    tls: ${tls?.mode ?? 'disable'}
    levels: [${levels.join(', ')}]
    credential: ${JSON.stringify(http?.credential ?? { kind: 'none' })}
${tls?.serverName === undefined ? '' : `    serverName: ${tls.serverName}\n`}${caFile === undefined ? '' : `    caFile: ${caFile}\n`}`
}
