import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../../protocols/kit/clock.ts'
import { readPrivateFile, writePrivateFile } from '../../protocols/kit/private-file.ts'
import { createServerCertificate } from '../postgres/server-certificate.ts'
import { identityProviderProgram } from '../programs.ts'
import type { ChildProgram } from '../supervisor.ts'
import { demoPeople } from './people.ts'

/** What the identity provider's process reads. 0600: it names passwords, although of a demo. */
export const identitySettings = z.strictObject({
  port: z.int().min(1).max(65_535),
  certificatePem: z.string(),
  privateKeyPem: z.string(),
  client: z.strictObject({ id: z.string(), secret: z.string() }),
  accounts: z.array(
    z.strictObject({
      email: z.string(),
      name: z.string(),
      password: z.string(),
      groups: z.array(z.string()),
    }),
  ),
})
export type IdentitySettings = z.infer<typeof identitySettings>

export function identitySettingsFile(directory: string): string {
  return join(directory, 'settings.json')
}

export function readIdentitySettings(directory: string): IdentitySettings {
  const bytes = readPrivateFile(identitySettingsFile(directory))
  return identitySettings.parse(JSON.parse(bytes.toString('utf8')))
}

/** That of the last start: who signed in is known by the issuer, and the port is a part of its name. */
export function keptPort(demoDirectory: string): number | undefined {
  const directory = directoryIn(demoDirectory)
  return existsSync(identitySettingsFile(directory))
    ? readIdentitySettings(directory).port
    : undefined
}

function directoryIn(demoDirectory: string): string {
  return join(demoDirectory, 'identity-provider')
}

export interface PreparedIdentityProvider {
  readonly program: ChildProgram
  /** What its certificate comes from. */
  readonly authorityPem: string
  readonly accounts: IdentitySettings['accounts']
  /** With which control signs people in there. */
  readonly controlFlags: readonly string[]
}

const clientId = 'sallyport'
const stopMs = 5_000

/** Accounts (passwords stay those of the first start), a certificate and control's registration. */
export async function prepareIdentityProvider(
  demoDirectory: string,
  port: number,
  clock: Clock,
): Promise<PreparedIdentityProvider> {
  const directory = directoryIn(demoDirectory)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const before = existsSync(identitySettingsFile(directory))
    ? readIdentitySettings(directory)
    : undefined
  const tls = await createServerCertificate(['localhost'], clock)
  const accounts = demoPeople.map(({ email, name, groups }) => ({
    email,
    name,
    password:
      before?.accounts.find((account) => account.email === email)?.password ??
      randomBytes(12).toString('base64url'),
    groups,
  }))
  const secret = before?.client.secret ?? randomBytes(32).toString('base64url')
  const { certificatePem, privateKeyPem } = tls
  const client = { id: clientId, secret }
  const settings: IdentitySettings = { port, certificatePem, privateKeyPem, client, accounts }
  writePrivateFile(identitySettingsFile(directory), `${JSON.stringify(settings, null, 2)}\n`)
  const secretFile = join(directory, 'client-secret')
  const caFile = join(directory, 'ca.pem')
  writePrivateFile(secretFile, secret)
  writeFileSync(caFile, tls.authorityPem, { mode: 0o600 })
  return {
    accounts,
    authorityPem: tls.authorityPem,
    program: identityProviderProgram({
      dataDirectory: directory,
      logFile: join(demoDirectory, 'logs', 'identity-provider.log'),
      flags: [],
      stopMs,
    }),
    controlFlags: [
      ...['--oidc-issuer', `https://localhost:${port}`, '--oidc-client-id', clientId],
      ...['--oidc-client-secret-file', secretFile, '--oidc-ca-file', caFile],
      // The demo's people exist before they sign in for the first time.
      '--oidc-link-by-email',
    ],
  }
}
