/** A resource as people write it in YAML, as control keeps it and as a proxy learns it. */
import { z } from 'zod'
import { groupName, hasNoZero, level, protocol, resourceName, retentionClass } from './names.ts'

/** Where a level's secret is: `<store>:<path>`, read by the proxy, never by control. */
export const secretReference = z
  .string()
  .max(512)
  .regex(/^[a-z][a-z0-9-]*:[\x21-\x7e]+$/, 'must look like sealed:orders-db/read or env:NAME')

export const upstreamTls = z.enum(['disable', 'require', 'verify-full'])

/** What happens to sessions of a resource while control cannot be reached (design, section 6). */
export const outagePolicy = z.enum(['keep', 'hold', 'cut'])

export const durability = z.enum(['written', 'synced'])

/** Text without control characters: some of it goes into packets that a zero byte takes apart. */
const line = (charactersMax: number) =>
  z
    .string()
    .max(charactersMax)
    .regex(/^\P{Cc}*$/u, 'must not hold control characters')

export const resourceLevel = z.strictObject({
  account: line(128).min(1),
  /**
   * `certificate:<any name>` (SSH): a certificate of the upstream authority for each session, and no secret at all. `none:<any name>` (HTTP):
   * no secret; the policy still says where it may go.
   */
  secret: secretReference,
  /** Default: `written` for read, `synced` for everything above. */
  durability: durability.optional(),
})

/** A line of an OpenSSH public key file, comment left out or not. */
export const sshPublicKey = z
  .string()
  .max(4_096)
  .regex(
    /^(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/]+={0,2}(?: \P{Cc}*)?$/u,
    'must look like ssh-ed25519 AAAA…',
  )
const sshHostTrust = {
  /** The server's own keys. */
  hostKeys: z.array(sshPublicKey).max(32).default([]),
  /** Authorities whose host certificates count, if they name the host. */
  hostAuthorities: z.array(sshPublicKey).max(32).default([]),
}
const commandPattern = line(1_000).min(1)

/** As `tunnelProtocols` in protocols/session.ts. */
const tunnelProtocol = z.enum(['tcp', 'ssh', 'postgres', 'mysql', 'http'])

/** What is particular to SSH. */
export const sshResource = z
  .strictObject({
    ...sshHostTrust,
    bastion: z
      .strictObject({
        host: line(253).min(1),
        port: z.int().min(1).max(65_535).default(22),
        account: line(128).min(1),
        secret: secretReference,
        ...sshHostTrust,
      })
      .optional(),
    /** Levels at which the agent may be forwarded. */
    agentForwarding: z.array(level).max(4).default([]),
    /** Destinations of port forwarding. `carries`: what is spoken to it; anything else is cut. */
    tunnels: z
      .array(
        z.strictObject({
          direction: z.enum(['local', 'remote']).default('local'),
          host: line(253).min(1).toLowerCase(),
          port: z.int().min(1).max(65_535),
          carries: tunnelProtocol.default('tcp'),
          levels: z.array(level).min(1).max(4),
        }),
      )
      .max(100)
      .default([]),
    /** Globs over a whole exec line, per level: `*` is any text. */
    commands: z
      .partialRecord(
        level,
        z.strictObject({
          allow: z.array(commandPattern).max(1_000).optional(),
          deny: z.array(commandPattern).max(1_000).default([]),
        }),
      )
      .default({}),
    recording: z
      .strictObject({
        /** Whether what is typed is recorded, besides what is shown. */
        input: z.boolean().default(false),
        /** Of what commands print, so much is kept per stream. */
        streamBytesMax: z.int().min(0).max(1_073_741_824).default(1_048_576),
      })
      .prefault({}),
  })
  .refine(({ hostKeys, hostAuthorities }) => hostKeys.length + hostAuthorities.length > 0, {
    error: 'must name the host: hostKeys (ssh-keyscan -t ed25519 HOST) or hostAuthorities',
    path: ['hostKeys'],
  })
export type SshResource = z.infer<typeof sshResource>

/** A token of RFC 9110, 5.6.2, in lower case: the name of a header. */
const headerName = z
  .string()
  .max(64)
  .toLowerCase()
  .regex(/^[a-z0-9!#$%&'*+.^_`|~-]+$/, 'must be the name of a header')
  .refine((name) => !ownHeaders.test(name), 'is set by the proxy or by HTTP itself')
/** What no resource may have set: framing, hops, what says who asks. */
const ownHeaders =
  /^(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|keep-alive|expect|forwarded|via|x-forwarded-.*|proxy-.*|sallyport-.*)$/
const httpMethod = z
  .string()
  .max(32)
  .toUpperCase()
  .regex(/^[A-Z-]+$/, 'must be a method')

/** How a secret is shown to an app; as `HttpCredential` in protocols/session.ts. */
export const httpCredential = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  z.strictObject({ kind: z.literal('bearer') }),
  z.strictObject({ kind: z.literal('basic') }),
  z.strictObject({ kind: z.literal('header'), name: headerName }),
  z.strictObject({ kind: z.literal('client-certificate') }),
  z.strictObject({
    kind: z.literal('oauth'),
    tokenUrl: z.url({ protocol: /^https$/, error: 'must be an https:// URL' }).max(2_048),
    scope: line(1_000).min(1).optional(),
  }),
])

/** What is particular to HTTP; as `HttpTerms` in protocols/session.ts. */
export const httpResource = z.strictObject({
  version: z.enum(['1.1', '2']).default('1.1'),
  host: z.enum(['client', 'resource']).default('resource'),
  credential: httpCredential.default({ kind: 'none' }),
  rules: z
    .array(
      z.strictObject({
        methods: z.array(httpMethod).min(1).max(32).optional(),
        path: line(1_000).regex(/^(?:\/|\*)/, 'must begin with / or *'),
        needs: z.enum([...level.options, 'deny']),
      }),
    )
    .max(1_000)
    .default([]),
  redactedParameters: z.array(line(100).min(1).toLowerCase()).max(100).default([]),
  recording: z
    .strictObject({
      requestBodyBytes: z.int().min(0).max(1_048_576).default(0),
      responseBodyBytes: z.int().min(0).max(1_048_576).default(0),
      /** The first 16 MiB of text of each WebSocket, both ways together; a mark in the recording says where it ends. */
      webSocketText: z.boolean().default(false),
    })
    .prefault({}),
  limits: z
    .strictObject({
      headerBytesMax: z.int().min(1_024).max(262_144).default(32_768),
      bodyBytesMax: z.int().min(0).default(0),
      answerMs: z.int().min(100).max(3_600_000).default(60_000),
      requestsMax: z.int().min(1).max(10_000).default(250),
      perMinuteMax: z.int().min(0).max(1_000_000).default(0),
    })
    .prefault({}),
})
export type HttpResource = z.infer<typeof httpResource>

const resourceFields = z.strictObject({
  name: resourceName,
  protocol,
  address: z.strictObject({
    host: line(253).min(1),
    port: z.int().min(1).max(65_535),
  }),
  tls: z
    .strictObject({
      mode: upstreamTls.default('verify-full'),
      /** The name in the upstream's certificate. Default: address.host. */
      serverName: line(253).min(1).optional(),
    })
    .prefault({}),
  /** Which proxies serve it. */
  group: groupName.default('default'),
  levels: z
    .partialRecord(level, resourceLevel)
    .refine((levels) => Object.keys(levels).length > 0, 'must offer at least one level'),
  tags: z.record(line(64).min(1), line(256)).default({}),
  owner: line(254).optional(),
  description: z.string().max(1_000).refine(hasNoZero, 'must not hold a zero byte').optional(),
  outage: z
    .strictObject({
      policy: outagePolicy.default('keep'),
      /** How old the newest lease may be for a new session under `keep`. */
      maxMs: z.int().min(0).max(86_400_000).default(900_000),
      /** How long the feed may be lost before `hold` and `cut` act. */
      graceMs: z.int().min(1_000).max(600_000).default(5_000),
    })
    .prefault({}),
  /** Cuts a session without traffic. 0: never. */
  idleMs: z.int().min(0).max(86_400_000).default(0),
  /** Moments before the grant's end at which the person is warned, in milliseconds. */
  warnBeforeMs: z.array(z.int().min(1_000)).max(8).default([300_000, 60_000]),
  retention: retentionClass.default('standard'),
  /** For `protocol: ssh`, and only there. */
  ssh: sshResource.optional(),
  /** For `protocol: http`, and only there. */
  http: httpResource.optional(),
})
export const resource = resourceFields.superRefine((given, context) => {
  for (const name of ['ssh', 'http'] as const) {
    if ((given.protocol === name) === (given[name] !== undefined)) continue
    const what = name.toUpperCase()
    const error = given[name] === undefined ? `is needed for ${what}` : `is for ${what} alone`
    context.addIssue({ code: 'custom', message: error, path: [name] })
  }
  const hasSecret = given.http === undefined || given.http.credential.kind !== 'none'
  for (const [name, offered] of Object.entries(given.levels)) {
    const complain = (message: string): void =>
      context.addIssue({ code: 'custom', message, path: ['levels', name, 'secret'] })
    if (offered.secret.startsWith('certificate:') && given.protocol !== 'ssh') {
      complain('certificates are for SSH resources')
    }
    if (offered.secret.startsWith('none:') === hasSecret) {
      complain(
        hasSecret
          ? 'none: is for HTTP resources whose credential is of kind none'
          : 'must be none:<any name>, as the credential is of kind none',
      )
    }
  }
})
export type Resource = z.infer<typeof resource>
export type OutagePolicy = z.infer<typeof outagePolicy>

/** The file that `sally apply` takes. */
export const resourcesFile = z.strictObject({ resources: z.array(resource).max(10_000) })
