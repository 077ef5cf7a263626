/** The flags and the environment of `control/main.ts`. */
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { SallyportError } from '../protocols/kit/errors.ts'
import { parseDuration } from './api/duration.ts'
import { email, peopleGroup, protocol } from './api/names.ts'
import { proxyGroupCreate } from './api/shapes.ts'
import { logLevels } from './create-log.ts'
import type { ProxyPlace } from './login/login-context.ts'
import { loginFlags, readLoginOptions } from './login/read-login-options.ts'
import type { ControlOptions } from './start-control.ts'

export const usage = `node control/main.ts [flags]

  --data-dir DIR               keys and the embedded stores (default data/control)
  --listen HOST:PORT           the API (default 127.0.0.1:8443; port 0: any free one)
  --url URL                    what callers use (default https://HOST:PORT)
  --domain NAME                of the first proxy group (default access.localhost)
  --bootstrap-admin EMAIL      the first admin, signed in at --bootstrap-home DIR
  --bootstrap-group NAME       of people, that a first admin is made in; may be repeated
  --proxy-address [PROTOCOL=]HOST:PORT  where clients of signed-in homes find the proxy (default postgres); one per protocol,
                               all of one host
  --certificate-life DURATION  people's certificates, default and maximum (default 8h)
  --login-life DURATION        from signing in to its end (default 8h)
  --oidc-issuer URL            the identity provider that people sign in with     SALLYPORT_OIDC_ISSUER
                               (redirect addresses there: http://127.0.0.1/callback for sally, URL/sign-in/callback for browsers;
                               back-channel logout: URL/sign-in/back-channel-logout)
  --oidc-client-id ID          control's name there                               SALLYPORT_OIDC_CLIENT_ID
  --oidc-client-secret-file F  its secret, in a 0600 file                         SALLYPORT_OIDC_CLIENT_SECRET_FILE
  --oidc-ca-file FILE          what the issuer's certificate comes from (PEM)     SALLYPORT_OIDC_CA_FILE
  --oidc-scopes WORDS          default "openid profile email offline_access"      SALLYPORT_OIDC_SCOPES
  --oidc-groups-claim NAME     default groups                                     SALLYPORT_OIDC_GROUPS_CLAIM
  --oidc-admin-group NAME      who is in it is an admin; may be repeated          SALLYPORT_OIDC_ADMIN_GROUPS
  --oidc-auditor-group NAME    the same for auditors (names by "," there)         SALLYPORT_OIDC_AUDITOR_GROUPS
  --oidc-link-by-email         a first sign-in takes over the local person of its verified address
  --oidc-trust-unmarked-emails     DANGEROUS: for a provider that sends no email_verified, and lets nobody choose their address:
                               an address of which it says nothing counts as verified (not with --oidc-link-by-email)
  --oidc-missing-groups-mean-none  DANGEROUS: for a provider that leaves an empty groups claim out: who is sent without it is
                               in no group, also where it is missing by mistake
  --metrics-listen HOST:PORT   /healthz /readyz /metrics, loopback only (default 127.0.0.1:9465)
  --drain DURATION             how long SIGTERM waits for requests (default 10s)
  --log-level LEVEL            ${logLevels.join(', ')} (default info)
  --ready FILE                 write FILE (JSON) once everything is up
  --ready-fd N                 write the same to a file descriptor
  --ephemeral                  keep nothing
  --demo                       mark everything that is made as a demo's

  DATABASE_URL                 a PostgreSQL instead of the embedded stores
  SALLYPORT_SEALING_KEY_FILE   the key that seals all others (default DIR/keys/sealing.key); replicas share it`

const flags = {
  'data-dir': { type: 'string' },
  listen: { type: 'string' },
  url: { type: 'string' },
  domain: { type: 'string' },
  'bootstrap-admin': { type: 'string' },
  'bootstrap-home': { type: 'string' },
  'bootstrap-group': { type: 'string', multiple: true },
  'proxy-address': { type: 'string', multiple: true },
  'certificate-life': { type: 'string' },
  ...loginFlags,
  'metrics-listen': { type: 'string' },
  drain: { type: 'string' },
  'log-level': { type: 'string' },
  ready: { type: 'string' },
  'ready-fd': { type: 'string' },
  ephemeral: { type: 'boolean' },
  demo: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

export interface MainOptions {
  readonly options: ControlOptions
  readonly drainMs: number
  readonly readyFile: string | undefined
  readonly readyFd: number | undefined
}

/** Undefined: help was asked for. Throws `usage`. */
export function readOptions(
  words: readonly string[],
  environment: NodeJS.ProcessEnv,
): MainOptions | undefined {
  const given = parseFlags(words)
  if (given.help === true) return undefined
  const demo = given.demo === true
  const ephemeral = given.ephemeral === true
  const dataDir = resolve(given['data-dir'] ?? join('data', 'control'))
  const listen = addressOf('--listen', given.listen ?? '127.0.0.1:8443')
  const usualMetrics = demo || ephemeral ? '127.0.0.1:0' : '127.0.0.1:9465'
  const databaseUrl = environment['DATABASE_URL'] || undefined
  const sealingKeyFile = environment['SALLYPORT_SEALING_KEY_FILE'] || undefined
  return {
    options: {
      dataDir,
      ephemeral,
      demo,
      ...listen,
      ...(given.url === undefined
        ? {}
        : { url: check('--url', z.url({ protocol: /^https$/ }), given.url) }),
      domain: check('--domain', proxyGroupCreate.shape.domain, given.domain ?? 'access.localhost'),
      operations: addressOf('--metrics-listen', given['metrics-listen'] ?? usualMetrics),
      ...adminOf(given),
      ...settingsOf(given),
      ...loginOf(given, environment),
      logLevel: check('--log-level', z.enum(logLevels), given['log-level'] ?? 'info'),
      ...(databaseUrl === undefined ? {} : { databaseUrl }),
      ...(sealingKeyFile === undefined ? {} : { sealingKeyFile: resolve(sealingKeyFile) }),
    },
    drainMs: parseDuration(given.drain ?? '10s'),
    readyFile: given.ready === undefined ? undefined : resolve(given.ready),
    readyFd:
      given['ready-fd'] === undefined
        ? undefined
        : check('--ready-fd', z.coerce.number().int().min(1).max(255), given['ready-fd']),
  }
}

function settingsOf(given: Given): Pick<ControlOptions, 'settings'> {
  const [life, loginLife] = [given['certificate-life'], given['login-life']]
  if (life === undefined && loginLife === undefined) return {}
  return {
    settings: {
      ...(life === undefined ? {} : { personCertificateMs: parseDuration(life) }),
      ...(loginLife === undefined ? {} : { loginMs: parseDuration(loginLife) }),
    },
  }
}

function loginOf(
  given: Given,
  environment: NodeJS.ProcessEnv,
): Pick<ControlOptions, 'login' | 'proxyAddress'> {
  const login = readLoginOptions(given, environment)
  const proxyAddress = proxyOf(given)
  return {
    ...(login === undefined ? {} : { login }),
    ...(proxyAddress === undefined ? {} : { proxyAddress }),
  }
}

type Given = ReturnType<typeof parseFlags>

function parseFlags(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: flags, strict: true, allowPositionals: false })
      .values
  } catch (error) {
    throw wrong((error as Error).message)
  }
}

function adminOf(given: Given): Pick<ControlOptions, 'admin'> {
  const [address, home] = [given['bootstrap-admin'], given['bootstrap-home']]
  if (address === undefined && home === undefined) return {}
  if (address === undefined || home === undefined) {
    throw wrong('--bootstrap-admin and --bootstrap-home go together')
  }
  const proxy = proxyOf(given)
  return {
    admin: {
      email: check('--bootstrap-admin', email, address),
      home: resolve(home),
      groups: (given['bootstrap-group'] ?? []).map((name) =>
        check('--bootstrap-group', peopleGroup, name),
      ),
      ...(proxy === undefined ? {} : { proxy }),
    },
  }
}

/** A home knows one host of the proxy, and a port for each protocol. */
function proxyOf(given: Given): ProxyPlace | undefined {
  const ports: Partial<Record<z.infer<typeof protocol>, number>> = {}
  let host: string | undefined
  for (const text of given['proxy-address'] ?? []) {
    const [, name = 'postgres', place = ''] = /^(?:([a-z]+)=)?(.*)$/s.exec(text) ?? []
    const at = addressOf('--proxy-address', place)
    if (host !== undefined && host !== at.host) {
      throw wrong(`--proxy-address ${text}: all protocols have one host, ${host}`)
    }
    host = at.host
    ports[check('--proxy-address', protocol, name)] = at.port
  }
  return host === undefined ? undefined : { host, ports }
}

function addressOf(flag: string, text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) throw wrong(`${flag} ${text}: not HOST:PORT`)
  return { host: (match[1] ?? match[2])!, port }
}

function check<T>(flag: string, shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value)
  if (parsed.success) return parsed.data
  throw wrong(`${flag} ${String(value)}: ${parsed.error.issues[0]!.message}`)
}

function wrong(message: string): SallyportError {
  return new SallyportError('usage', message, {
    clientMessage: message,
    hint: 'see node control/main.ts --help',
  })
}
