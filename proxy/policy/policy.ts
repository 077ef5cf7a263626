/**
 * The proxy's own policy: which secret may be used where. Control cannot change it, so that a control that was
 * taken over cannot send a credential to a place of its choosing. What no rule binds is refused.
 *
 *     secrets:
 *       - reference: "sealed:orders-db/*"        # glob: * is any text without /, ** any text
 *         addresses: ["10.0.3.7:5432", "10.0.4.0/24:5432", "orders.internal:5432"]
 *         serverName: orders.internal            # default: the host of the resource's address
 *         tls: verify-full                       # at least this; default verify-full
 *         caFile: orders-ca.pem                  # default: the system's authorities
 *         levels: [read, write]                  # default: read
 *         accounts: [orders_read]                # default: any that the resource names
 *
 * For HTTP a rule says how the secret is shown, as the resource does and to the letter: `credential: { kind: header, name: X-Api-Key }`. Without
 * it, it is for no app: control would choose the header, and with it who reads or logs it. Of kind `oauth` (`tokenUrl`, `scope`)
 * the secret goes to that URL and nowhere else, and what it is traded for to `addresses`. `none:<any name>` needs none.
 *
 * SSH knows no TLS: there a rule names `hostKeys` and `hostAuthorities` (lines as in an id_*.pub file), and then only a server
 * counts that the rule and the resource both accept. `certificate:<name>` is a reference like any other, and so is a bastion's; a rule
 * for certificates alone may leave the servers to the resource, for nobody can use what a server is shown of one.
 */
import { readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { level } from '../../control/api/names.ts'
import { httpCredential, sshPublicKey, upstreamTls } from '../../control/api/resource.ts'
import { InvalidInput } from '../../control/api/problem.ts'
import { parseCertificate, splitPem } from '../split-pem.ts'
import { parseSshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import type { SshHostTrust } from '../../protocols/session.ts'
import { readYaml } from '../read-yaml.ts'

export interface AddressRule {
  /** A host name or IP address, compared as text (lower case); or a network. */
  readonly host: string | { readonly network: BlockList }
  readonly port: number
}

export interface SecretRule {
  readonly reference: string
  readonly matches: RegExp
  readonly addresses: readonly AddressRule[]
  readonly serverName: string | undefined
  readonly tls: z.infer<typeof upstreamTls>
  readonly caPem: string | undefined
  /** Servers of SSH; undefined: whichever the resource names, for certificates only. */
  readonly ssh?: SshHostTrust
  /** How it is shown to an app; with it the rule is for HTTP alone, without it for other protocols. */
  readonly credential?: z.infer<typeof httpCredential> | undefined
  /** Undefined: any. */
  readonly accounts?: readonly string[] | undefined
  readonly levels: readonly z.infer<typeof level>[]
}

export interface Policy {
  readonly secrets: readonly SecretRule[]
}

const address = z
  .string()
  .max(300)
  .transform((text, context): AddressRule => {
    const parsed = parseAddress(text)
    if (parsed !== undefined) return parsed
    context.addIssue({
      code: 'custom',
      message: 'must look like host:port, 10.0.0.1:5432, [::1]:5432 or 10.0.0.0/24:5432',
    })
    return z.NEVER
  })

/** A line of a public key file, as a blob. */
const sshKey = sshPublicKey.transform((text, context): Buffer => {
  try {
    return parseSshPublicKeyLine(text).blob
  } catch (error) {
    context.addIssue({ code: 'custom', message: String(error) })
    return z.NEVER
  }
})

const policyFile = z.strictObject({
  secrets: z
    .array(
      z.strictObject({
        reference: z
          .string()
          .max(512)
          .regex(/^[a-z][a-z0-9-]*:[\x21-\x7e]+$/, 'must look like sealed:orders-db/*'),
        addresses: z.array(address).min(1).max(1_000),
        serverName: z.string().min(1).max(253).toLowerCase().optional(),
        tls: upstreamTls.default('verify-full'),
        caFile: z.string().min(1).max(4_096).optional(),
        levels: z.array(level).min(1).default(['read']),
        accounts: z.array(z.string().min(1).max(128)).min(1).max(1_000).optional(),
        credential: httpCredential.optional(),
        hostKeys: z.array(sshKey).max(32).default([]),
        hostAuthorities: z.array(sshKey).max(32).default([]),
      }),
      'must be a list of rules; "secrets: []" binds nothing',
    )
    .max(10_000),
})

/**
 * Reads a policy. Throws `config-invalid`, also where the file is not there or says nothing: whoever writes it may have emptied it first, and
 * what binds nothing ends every session.
 */
export function readPolicy(path: string): Policy {
  const parsed = readYaml(path, policyFile)
  return {
    secrets: parsed.secrets.map((given, index) => {
      const { reference, caFile, serverName, hostKeys, hostAuthorities, ...rule } = given
      const namesHosts = hostKeys.length + hostAuthorities.length > 0
      return {
        ...rule,
        reference,
        serverName,
        matches: globPattern(reference),
        caPem: caFile === undefined ? undefined : readAuthorities(path, caFile, index),
        ...(namesHosts ? { ssh: { hostKeys, hostAuthorities } } : {}),
      }
    }),
  }
}

function readAuthorities(policyPath: string, caFile: string, index: number): string {
  const path = resolve(dirname(policyPath), caFile)
  try {
    const pem = readFileSync(path, 'utf8')
    const certificates = splitPem(pem)
    if (certificates.length === 0) throw new Error('there is no certificate in it')
    for (const each of certificates) parseCertificate(each)
    return pem
  } catch (error) {
    const message = `caFile ${path}: ${error instanceof Error ? error.message : String(error)}`
    throw new InvalidInput('config-invalid', `${policyPath}: ${message}`, [
      { path: `secrets.${index}.caFile`, message },
    ])
  }
}

function parseAddress(text: string): AddressRule | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+))(?:\/(\d{1,3}))?:(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const host = (match[1] ?? match[2]!).toLowerCase()
  const port = Number(match[4])
  const family = isIP(host)
  if (port < 1 || port > 65_535 || (match[1] !== undefined && family !== 6)) return undefined
  if (match[3] === undefined) return { host, port }
  const bits = Number(match[3])
  if (family === 0 || bits > (family === 4 ? 32 : 128)) return undefined
  const network = new BlockList()
  network.addSubnet(host, bits, family === 4 ? 'ipv4' : 'ipv6')
  return { host: { network }, port }
}

/** `*` is any text without a slash, `**` any text; everything else is itself. */
function globPattern(glob: string): RegExp {
  const parts = glob.split(/(\*\*|\*)/).map((part) => {
    if (part === '**') return '.*'
    return part === '*' ? '[^/]*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('')}$`)
}
