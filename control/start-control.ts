/**
 * Puts control together and starts it: stores, keys, feed, audit, servers. The composition root knows the concrete parts;
 * everything below it is handed what it needs.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock, type Clock, type Timer } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { defaultRealm } from './api/names.ts'
import { createSealedRootKey } from './audit/envelope.ts'
import { openAudit, type Audit } from './audit/open-audit.ts'
import { getSession } from './audit/sessions.ts'
import { bootstrapAdmin } from './bootstrap-admin.ts'
import { appendControlAction, createControlChain } from './chain/append-action.ts'
import { readAction } from './chain/read-action.ts'
import { readControlSegments } from './chain/read-segments.ts'
import {
  defaultSettings,
  nowMs,
  type Control,
  type ControlLog,
  type ControlSettings,
} from './control.ts'
import { createLog, type LogLevel } from './create-log.ts'
import { announceKeys } from './feed/announce-keys.ts'
import { openFeedHub } from './feed/feed-hub.ts'
import { trimFeed } from './feed/trim-feed.ts'
import { pinOf } from './issue/join-token.ts'
import { openKeys } from './keys/open-keys.ts'
import { openRealm } from './keys/open-realm.ts'
import { openSealingKey } from './keys/open-sealing-key.ts'
import { createIdentityProvider } from './login/identity-provider.ts'
import type { ProxyPlace } from './login/login-context.ts'
import type { LoginSettings } from './login/login-settings.ts'
import { readVersion } from './cli/read-version.ts'
import { keepExpiring } from './requests/expire-requests.ts'
import { createConnectedProxies, readProxyPresence } from './server/connected-proxies.ts'
import { actionHandlers } from './server/handlers/actions.ts'
import { grantHandlers } from './server/handlers/grants.ts'
import { healthHandlers } from './server/handlers/health.ts'
import { loginHandlers } from './server/handlers/login.ts'
import { peopleHandlers } from './server/handlers/people.ts'
import { proxyHandlers } from './server/handlers/proxies.ts'
import { requestHandlers } from './server/handlers/requests.ts'
import { resourceHandlers } from './server/handlers/resources.ts'
import { sessionHandlers } from './server/handlers/sessions.ts'
import { httpHandlers } from './server/handlers/http.ts'
import { sshHandlers } from './server/handlers/ssh.ts'
import { tokenHandlers } from './server/handlers/tokens.ts'
import type { Handlers } from './server/handlers.ts'
import { createMetrics } from './server/metrics.ts'
import { openApiServer } from './server/open-api-server.ts'
import { openOperationsServer } from './server/open-operations-server.ts'
import { createRateLimit } from './server/rate-limit.ts'
import { readChecks, shareChecks } from './server/readiness.ts'
import { issueControlCertificate, keepRenewed } from './server/server-certificate.ts'
import { trimTokens } from './tokens/trim-tokens.ts'
import { trimBrowserSessions } from './apps/trim-browser-sessions.ts'
import { registerPages } from './web/register-pages.ts'
import { countLiveSessions } from './sessions/count-live-sessions.ts'
import { openStores, type Stores } from './store/store.ts'

export interface ControlOptions {
  /** Holds `keys` and `store`. Made if missing. */
  readonly dataDir: string
  /** A PostgreSQL for both stores; absent: embedded ones in `dataDir`. */
  readonly databaseUrl?: string
  /** Keep nothing: `dataDir` is ignored for a temporary one. */
  readonly ephemeral?: boolean
  /** Where the key that seals all others is. Default: `keys/sealing.key` in `dataDir`. Replicas need the same one. */
  readonly sealingKeyFile?: string
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** What callers use. Default: `https://<host>:<port>`. */
  readonly url?: string
  /** Domain of the first proxy group. Only of use at the first start. */
  readonly domain: string
  readonly demo: boolean
  readonly operations: { readonly host: string; readonly port: number }
  readonly admin?: {
    readonly email: string
    readonly groups?: readonly string[]
    readonly home: string
    readonly proxy?: ProxyPlace
  }
  /** What people sign in with; absent: nobody can, and admins issue certificates. */
  readonly login?: LoginSettings
  /** What homes of people who sign in are told of the proxy. */
  readonly proxyAddress?: ProxyPlace
  readonly settings?: Partial<ControlSettings>
  readonly logLevel?: LogLevel
  readonly log?: ControlLog
  readonly clock?: Clock
  /** Validate what handlers answer. For tests. */
  readonly validateAnswers?: boolean
  /** An embedded database died: the process must start anew. */
  readonly onLost?: (error: Error) => void
}

export interface RunningControl {
  readonly url: string
  readonly port: number
  readonly operationsPort: number
  readonly control: Control
  readonly stores: Stores
  /** Where the admin was signed in, if asked for. */
  readonly adminHome: string | undefined
  /** Feeds close with 1001, requests finish for up to `drainMs` (default 10 s), then all is closed. Idempotent. */
  close(drainMs?: number): Promise<void>
}

const trimEveryMs = 600_000
const joinWindowMs = 60_000

/** Rejects with what is wrong with configuration, store, keys or ports; then nothing is left running. */
export async function startControl(options: ControlOptions): Promise<RunningControl> {
  const clock = options.clock ?? systemClock
  const log = options.log ?? createLog(options.logLevel ?? 'info')
  const closers: (() => Promise<void> | void)[] = []
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) {
      try {
        await close()
      } catch (error) {
        log.error({ error: String(error) }, 'a part did not close well')
      }
    }
  }
  try {
    return await start(options, clock, log, closers, closeAll)
  } catch (error) {
    await closeAll()
    throw error
  }
}

async function start(
  options: ControlOptions,
  clock: Clock,
  log: ControlLog,
  closers: (() => Promise<void> | void)[],
  closeAll: () => Promise<void>,
): Promise<RunningControl> {
  const { host, demo } = options
  const realm = defaultRealm
  let stopping = false
  const isStopping = (): boolean => stopping

  const dataDir = openDataDirectory(options, closers)
  const stores = await openStores(
    options.databaseUrl === undefined
      ? { dataDir: join(dataDir, 'store') }
      : { databaseUrl: options.databaseUrl },
    {
      lost: (error) => {
        log.error({ error: error.message }, 'the embedded store is lost')
        options.onLost?.(error)
      },
      troubled: (error) => log.warn({ error: error.message }, 'a connection to the store failed'),
    },
  )
  closers.push(() => stores.close())
  const { state } = stores

  const sealingKeyFile = options.sealingKeyFile ?? join(dataDir, 'keys', 'sealing.key')
  const sealingKey = await openSealingKey(state, sealingKeyFile)
  const opened = await openRealm(state, { realm, demo, domain: options.domain, clock })
  const keys = await openKeys(state, { realm, demo, sealingKey, clock })
  const chain = createControlChain({
    realm,
    epoch: opened.chainEpoch,
    clock,
    signer: keys.signers.audit,
    payloadKey: keys.chainKey,
  })
  const settings = { ...defaultSettings, ...options.settings }
  const control: Control = { realm, demo, state, clock, keys, chain, settings, log }
  await announceKeys(control)

  const metrics = createMetrics()
  const hub = await openFeedHub(control)
  closers.push(() => hub.close())
  const proxies = createConnectedProxies(control)
  closers.push(() => proxies.close())
  metrics.watch({
    proxies: () => proxies.size,
    feedLagMs: () => nowMs(clock) - (hub.completeAtMs ?? 0),
    unapplied: () =>
      Math.max(0, ...[...proxies.connections].map(({ sent, applied }) => sent - applied)),
  })
  closers.push(keepTrimmed(control))
  closers.push(keepExpiring(control))

  const audit: Audit = await openAudit({
    store: stores.audit,
    realm,
    rootKey: createSealedRootKey(sealingKey),
    signer: keys.signers.audit,
    clock,
    log,
    registry: metrics.registry,
    readControlSegments: (range) => readControlSegments(state, chain, range),
    readProxyPresence: () => readProxyPresence(state, control),
    appendAction: (action) =>
      state.transaction((sql) => appendControlAction(sql, chain, ownActor, action)),
    readAction: (number) => readAction(state, realm, number),
  })
  closers.push(() => audit.close())

  const provider =
    options.login === undefined ? undefined : createIdentityProvider(options.login, { clock, demo })
  for (const danger of ['trustUnmarkedEmails', 'missingGroupsMeanNone', 'linkByEmail'] as const) {
    if (options.login?.[danger] === true)
      log.warn({ danger }, 'the identity provider is trusted further than usual')
  }
  const checks = shareChecks(() => readChecks({ control, stores, hub, isStopping }))
  const loginContext = { control, provider, proxy: options.proxyAddress }
  const waits = new AbortController()
  const countJoin = createRateLimit({
    clock,
    perAddressMax: 10,
    overallMax: 100,
    windowMs: joinWindowMs,
  })
  const handlers: Handlers = {
    ...healthHandlers(checks),
    ...peopleHandlers(control),
    ...resourceHandlers(control, (name, levels) =>
      countLiveSessions(stores.audit, realm, name, levels),
    ),
    ...grantHandlers(control),
    ...requestHandlers(control),
    ...tokenHandlers(control),
    ...sessionHandlers(control, (id) => getSession(audit.context, id, { personId: undefined })),
    ...proxyHandlers(control, countJoin, proxies),
    ...loginHandlers(loginContext),
    ...sshHandlers(loginContext, waits.signal),
    ...httpHandlers(control),
    ...actionHandlers(control),
    ...audit.handlers,
  }

  const given = options.url === undefined ? undefined : new URL(options.url)
  const shownHost = bare(given?.hostname ?? (isUnspecified(host) ? 'localhost' : host))
  const hosts = [shownHost, ...(isUnspecified(host) ? [] : [host])]
  const certificate = await issueControlCertificate(control, hosts)
  let url = ''
  const api = await openApiServer({
    control,
    handlers,
    hub,
    proxies,
    host,
    port: options.port,
    certificate,
    version: readVersion(),
    validateAnswers: options.validateAnswers ?? false,
    isStopping,
    registerMore: (server) =>
      registerPages(server, {
        ...{ control, login: loginContext, origin: () => url },
        appsPort: options.proxyAddress?.ports.http ?? 443,
      }),
    onAnswered: (route, status, durationMs) => metrics.request(route, status, durationMs),
    onConfirmed: (verdict, durationMs) =>
      metrics.confirmed(verdict.kind, verdict.kind === 'denied' ? verdict.why : '', durationMs),
  })
  let drainMs = 10_000
  closers.push(() => {
    proxies.close()
    audit.endWaits()
    waits.abort()
    return api.close(drainMs)
  })
  closers.push(keepRenewed(control, hosts, certificate.renewAtMs, (next) => api.use(next)))
  const operations = await openOperationsServer({
    ...options.operations,
    readChecks: checks,
    metrics,
    log,
  })
  closers.push(() => operations.close())

  url = given?.origin ?? `https://${inUrl(shownHost)}:${api.port}`
  if (options.admin !== undefined) {
    await bootstrapAdmin(control, { ...options.admin, controlUrl: url })
  }
  const authoritySha256 = pinOf(keys.authorities.control.certificatePem)
  log.info({ url, operationsPort: operations.port, demo, realm, authoritySha256 }, 'control is up')
  let closed: Promise<void> | undefined
  return {
    url,
    port: api.port,
    operationsPort: operations.port,
    control,
    stores,
    adminHome: options.admin?.home,
    close(limitMs) {
      if (limitMs !== undefined) drainMs = limitMs
      stopping = true
      closed ??= closeAll()
      return closed
    },
  }
}

/** What control does by itself. */
const ownActor = { id: '', email: 'control', remoteAddress: '' }

function openDataDirectory(options: ControlOptions, closers: (() => void)[]): string {
  if (options.ephemeral !== true) {
    mkdirSync(options.dataDir, { recursive: true, mode: 0o700 })
    return options.dataDir
  }
  if (options.databaseUrl !== undefined) {
    throw new SallyportError('config-invalid', '--ephemeral with DATABASE_URL', {
      clientMessage: 'an ephemeral control keeps nothing, and DATABASE_URL names where to keep it',
      hint: 'leave one of the two out',
    })
  }
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-control-'))
  closers.push(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function keepTrimmed(control: Control): () => void {
  const { clock, state, realm, settings, log } = control
  let timer: Timer
  let stopped = false
  const trim = (): void => {
    trimFeed(state, realm, nowMs(clock) - settings.feedRetentionMs)
      .catch((error: unknown) => log.warn({ error: String(error) }, 'the feed was not trimmed'))
      .then(() => trimTokens(control))
      .then(() => trimBrowserSessions(control))
      .catch((error: unknown) => log.warn({ error: String(error) }, 'old tokens were not deleted'))
      .finally(() => {
        if (!stopped) timer = clock.startTimer(trimEveryMs, trim)
      })
  }
  timer = clock.startTimer(trimEveryMs, trim)
  return () => {
    stopped = true
    timer.cancel()
  }
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}

/** IPv6 addresses have brackets in URLs, and nowhere else. */
function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function bare(host: string): string {
  return host.replace(/^\[|\]$/g, '')
}
