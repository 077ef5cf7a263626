/**
 * What the operator says: flags, then the environment, then a YAML file, then defaults. Unknown keys are refused.
 *
 *     controlUrl: https://control.example.com:8443
 *     listen: { postgres: "0.0.0.0:5432" }
 *     metrics: { host: 127.0.0.1, port: 9464 }
 *     logLevel: info
 *     limits: { idleMs: 3600000 }
 */
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { protocolNames, type ProtocolName } from '../protocols/activity.ts'
import { engines } from '../protocols/index.ts'
import { SallyportError } from '../protocols/kit/errors.ts'
import { defaultLimits, type Limits } from '../protocols/kit/limits.ts'
import { logLevels } from './observe/log.ts'
import { readYaml } from './read-yaml.ts'

export interface ListenAddress {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
}

const addressForm = 'must look like 0.0.0.0:5432, [::]:5432 or 5432'

/** `host:port`, `[::1]:port` or just a port (on 127.0.0.1); or the same in parts. */
const listenAddress = z.union(
  [
    z.strictObject({ host: z.string().min(1).max(253), port: z.int().min(0).max(65_535) }),
    z.string().transform((text, context): ListenAddress => {
      const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):)?(\d{1,5})$/.exec(text)
      const port = Number(match?.[3])
      if (match !== null && port <= 65_535) {
        return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
      }
      context.addIssue({ code: 'custom', message: addressForm })
      return z.NEVER
    }),
  ],
  { error: addressForm },
)

const limitNames = Object.keys(defaultLimits) as [keyof Limits, ...(keyof Limits)[]]
const path = z.string().min(1).max(4_096)

const settings = z.strictObject({
  /** Default: ./data/proxy. */
  dataDir: path.default('data/proxy'),
  controlUrl: z.url({ protocol: /^https$/, error: 'must be an https:// URL' }).optional(),
  /** Where browsers sign in. Default: controlUrl. */
  consoleUrl: z.url({ protocol: /^https$/, error: 'must be an https:// URL' }).optional(),
  /** A file with the one-time token; only read by a proxy that has not joined yet. */
  joinTokenFile: path.optional(),
  /** What people call this proxy. Default: the host's name. */
  name: z.string().min(1).max(200).default(hostname()),
  listen: z.partialRecord(z.enum(protocolNames), listenAddress).default({}),
  metrics: z
    .strictObject({
      host: z.string().max(253).default('127.0.0.1'),
      port: z.int().min(0).max(65_535).default(0),
    })
    .prefault({}),
  /** Default: policy.yaml in the data directory. */
  policyFile: path.optional(),
  logLevel: z.enum(logLevels).default('info'),
  demo: z.boolean().default(false),
  limits: z.partialRecord(z.enum(limitNames), z.int().nonnegative()).default({}),
  spoolBytesMax: z
    .int()
    .min(1_048_576)
    .default(4 * 1024 * 1024 * 1024),
})

export interface ProxyConfig {
  readonly dataDir: string
  readonly controlUrl: string
  /** Where browsers sign in. */
  readonly consoleUrl: string
  readonly joinTokenFile: string | undefined
  readonly name: string
  /** The protocols that are served: all, each on its usual port of 127.0.0.1, or only those that were named. */
  readonly listen: Readonly<Partial<Record<ProtocolName, ListenAddress>>>
  readonly metrics: { readonly host: string; readonly port: number }
  readonly policyFile: string
  readonly logLevel: (typeof logLevels)[number]
  readonly demo: boolean
  readonly limits: Limits
  readonly spoolBytesMax: number
}

/** What `readConfig` takes besides the file: also the shape of options in tests. */
export type ProxySettings = z.input<typeof settings>

/** Completes settings. Throws `config-invalid`. */
export function completeConfig(given: ProxySettings): ProxyConfig {
  const parsed = settings.safeParse(given)
  if (!parsed.success) {
    const { path: at, message } = parsed.error.issues[0]!
    throw invalid(`${at.join('.')}: ${message}`)
  }
  const { controlUrl, consoleUrl, joinTokenFile, policyFile, limits, ...rest } = parsed.data
  if (controlUrl === undefined) throw invalid('controlUrl: is missing (--control-url)')
  const dataDir = resolve(rest.dataDir)
  return {
    ...rest,
    dataDir,
    controlUrl,
    consoleUrl: consoleUrl ?? controlUrl,
    joinTokenFile,
    policyFile: policyFile ?? join(dataDir, 'policy.yaml'),
    limits: { ...defaultLimits, ...limits },
    listen: Object.keys(rest.listen).length > 0 ? rest.listen : usualPorts(),
  }
}

function usualPorts(): ProxyConfig['listen'] {
  const address = (protocol: ProtocolName): ListenAddress => {
    return { host: '127.0.0.1', port: engines[protocol].defaultPort }
  }
  return Object.fromEntries(protocolNames.map((protocol) => [protocol, address(protocol)]))
}

const flags = {
  config: { type: 'string' },
  'data-dir': { type: 'string' },
  'control-url': { type: 'string' },
  'join-token-file': { type: 'string' },
  name: { type: 'string' },
  /** `postgres=127.0.0.1:5432`, once per protocol. */
  listen: { type: 'string', multiple: true },
  metrics: { type: 'string' },
  'policy-file': { type: 'string' },
  'log-level': { type: 'string' },
  demo: { type: 'boolean' },
  /** Written, as JSON, once the proxy is up. */
  ready: { type: 'string' },
} as const

/** Reads the command line (without program and script) and the environment. Throws `config-invalid` or `usage`. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): { config: ProxyConfig; readyFile: string | undefined } {
  const given = readFlags(args)
  const dataDir = given['data-dir'] ?? environment['SALLYPORT_PROXY_DATA'] ?? 'data/proxy'
  const file = given.config ?? join(dataDir, 'proxy.yaml')
  const fromFile: ProxySettings =
    given.config !== undefined || existsSync(file) ? readYaml(file, settings) : {}
  const config = completeConfig({
    ...fromFile,
    ...definedOnly({
      dataDir,
      controlUrl: given['control-url'] ?? environment['SALLYPORT_CONTROL_URL'],
      joinTokenFile: given['join-token-file'],
      name: given.name,
      policyFile: given['policy-file'],
      logLevel: given['log-level'] as ProxySettings['logLevel'],
      demo: given.demo,
      metrics: given.metrics === undefined ? undefined : readMetricsAddress(given.metrics),
      listen: given.listen === undefined ? undefined : readListen(given.listen),
    }),
  })
  return { config, readyFile: given.ready }
}

function readFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, strict: true, allowPositionals: false })
      .values
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new SallyportError('usage', message, {
      clientMessage: message,
      hint: `flags: ${Object.keys(flags)
        .map((name) => `--${name}`)
        .join(' ')}`,
    })
  }
}

function readListen(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf('=')
      if (equals < 0) throw invalid(`--listen ${text}: must look like postgres=127.0.0.1:5432`)
      return [text.slice(0, equals), text.slice(equals + 1)]
    }),
  )
}

function readMetricsAddress(text: string): ListenAddress {
  const parsed = listenAddress.safeParse(text)
  if (!parsed.success) throw invalid(`--metrics ${text}: ${parsed.error.issues[0]!.message}`)
  return parsed.data
}

function definedOnly<T extends object>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as never
}

function invalid(message: string): SallyportError {
  return new SallyportError('config-invalid', message, { clientMessage: message })
}
