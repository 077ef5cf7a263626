/** Shapes of what control does for SSH. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import * as names from './names.ts'
import { pageQuery } from './page.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
const dayMs = 86_400_000

/** A line of an id_*.pub file of a person, comment left out or not; types of hardware keys too. */
export const sshPublicKeyText = text(4_096).regex(
  /^(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}(?:[ \t]\P{Cc}*)?$/u,
  'must look like ssh-ed25519 AAAA…',
)
/** A key or a certificate as SSH sends it, base64. */
const blob = text(12_000).regex(/^[A-Za-z0-9+/]+={0,2}$/, 'must be base64')
/** As `ssh-keygen -l` prints it. */
export const sshFingerprintText = z.string().regex(/^SHA256:[A-Za-z0-9+/]{43}$/)

/** An OpenSSH certificate of a person, beside the X.509 one of the same sign-in. */
export const sshCertificate = z.strictObject({
  /** `ssh-ed25519-cert-v01@openssh.com AAAA…`: the content of id_ed25519-cert.pub. */
  certificate: text(16_384),
  /** Hex, as that of the X.509 one; ssh-keygen -L prints it in decimal. */
  serial: text(64),
  expiresAtMs: names.timeMs,
})

const authorityLines = z.array(text(4_096)).max(32)
/** Lines of public keys, `ssh-ed25519 AAAA…`; during a rotation there are several. */
export const sshAuthorities = z.strictObject({
  /** Who signs people's login certificates. */
  people: authorityLines,
  /** Who signs the proxies' host certificates: `@cert-authority` in known_hosts. */
  hosts: authorityLines,
  /** Who signs one certificate per session: `TrustedUserCAKeys` of servers, and nothing else there. */
  upstream: authorityLines,
})

/** What a person signs to show that they hold a key: `ssh-keygen -Y sign -n` this. */
export const sshKeyProofNamespace = 'sallyport-ssh-key'
export function sshKeyProofText(realm: string, personId: string): string {
  return `This key identifies sallyport://${realm}/person/${personId}\n`
}

const keyName = text(100).trim().min(1).refine(names.hasNoZero, 'must not hold a zero byte')
export const sshKeyView = z.strictObject({
  id: names.id,
  personId: names.id,
  personEmail: names.email,
  name: keyName,
  fingerprint: sshFingerprintText,
  /** `type base64`, without a comment. */
  publicKey: text(4_096),
  addedAtMs: names.timeMs,
  expiresAtMs: names.timeMs,
})
export type SshKeyView = z.infer<typeof sshKeyView>
export const sshKeysQuery = pageQuery.extend({ person: names.email.optional() })
export const sshKeyAdd = z.strictObject({
  publicKey: sshPublicKeyText,
  /** What `ssh-keygen -Y sign` wrote over `sshKeyProofText`, armored. */
  proof: text(8_192),
  name: keyName,
  forMs: z
    .int()
    .min(60_000)
    .max(366 * dayMs)
    .default(90 * dayMs),
})

/** An address or a CIDR block, for the source-address option of certificates. */
export const sourceAddress = z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()])

export const sshSessionCertify = z.strictObject({
  sessionId: names.id,
  grantId: names.id,
  /** Of the key that the proxy made for this session. */
  publicKey: blob,
  of: z.enum(['resource', 'bastion']).default('resource'),
})
export const sshSessionCertified = z.strictObject({
  certificate: blob,
  expiresAtMs: names.timeMs,
})
export const sshHostCertify = z.strictObject({
  /** A name of the group's domain, lower case. */
  name: text(253).regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/),
  publicKey: blob,
})

export const sshSignIn = z.strictObject({
  /** Of the SSH client that waits, as the proxy sees it. */
  remoteAddress: z.union([z.ipv4(), z.ipv6()]),
})
export const sshSignInBegun = z.strictObject({
  signInId: names.id,
  /** The page to open; it holds the code already where the identity provider has such a link. */
  url: text(2_048),
  code: text(128),
  expiresAtMs: names.timeMs,
  /** What the terminal has to show above the link: who would be signed in where. One line. */
  notice: text(1_000),
})
export const sshSignInWait = z.strictObject({
  signInId: names.id,
  /** Answers as soon as there is something, at the latest after this. */
  waitMs: z.int().min(0).max(20_000),
})
export const sshSignInState = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('pending') }),
  z.strictObject({
    state: z.literal('signed-in'),
    personId: names.id,
    personEmail: names.email,
    loginId: names.id,
    issuedAtMs: names.timeMs,
    expiresAtMs: names.timeMs,
  }),
  z.strictObject({ state: z.literal('refused'), why: text(1_000) }),
])
export type SshSignInState = z.infer<typeof sshSignInState>
