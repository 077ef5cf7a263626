/** The demo's identity provider in this process, in two configurations, and people who sign in with it. */
import { createServerCertificate } from '../../deploy/postgres/server-certificate.ts'
import {
  createSigningKey,
  startDevelopmentProvider,
  type DevelopmentAccount,
  type DevelopmentProvider,
  type DevelopmentProviderOptions,
  type SigningJwk,
} from '../../deploy/demo/development-provider.ts'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LoginSettings } from '../../control/login/login-settings.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { signInAt, type Page } from '../../deploy/demo/browser.ts'

export interface ProviderSite {
  readonly issuer: string
  readonly authorityPem: string
  readonly settings: LoginSettings
  readonly accounts: DevelopmentAccount[]
  /** Changes what the provider says; set it to undefined to have it honest again. */
  claimsOf: ((claims: Record<string, unknown>) => Record<string, unknown>) | undefined
  /** Opens a link and signs in; returns the page (or the loopback address) it ends at. */
  signIn(url: string, email: string): Promise<Page>
  /** What it signs with now. */
  keys(): readonly SigningJwk[]
  stop(): Promise<void>
  /** On the same port; `newKeys`: with others than before. */
  start(newKeys?: boolean): Promise<void>
  close(): Promise<void>
}

export async function startProviderSite(
  flavour: 'demo' | 'foreign',
  more: Partial<LoginSettings> = {},
): Promise<ProviderSite> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-provider-'))
  const { authorityPem, certificatePem, privateKeyPem } = await createServerCertificate(
    ['localhost'],
    systemClock,
  )
  const caFile = join(directory, 'ca.pem')
  const clientSecretFile = join(directory, 'secret')
  const client = { id: 'sallyport', secret: 'a-client-secret-of-the-tests' }
  writeFileSync(caFile, authorityPem)
  writeFileSync(clientSecretFile, client.secret, { mode: 0o600 })
  const signing = flavour === 'demo' ? 'ES256' : 'RS256'
  const groupsClaim = flavour === 'demo' ? 'groups' : 'https://example.test/teams'
  const accounts: DevelopmentAccount[] = ['dev', 'oncall', 'lead', 'newcomer'].map((name) => ({
    email: `${name}@example.test`,
    name: `The ${name}`,
    password: `password of ${name}`,
    groups: ['engineers', ...(name === 'dev' ? [] : [`${name}s`])],
  }))
  let keys = [createSigningKey(signing)]
  let running: DevelopmentProvider | undefined
  const options = (port: number): DevelopmentProviderOptions => ({
    host: '127.0.0.1',
    port,
    name: 'localhost',
    certificatePem,
    privateKeyPem,
    accounts: () => accounts,
    client,
    signing,
    groupsClaim,
    keys,
    claimsOf: (claims) => site.claimsOf?.(claims) ?? claims,
    amr: ['pwd', 'otp'],
  })
  running = await startDevelopmentProvider(options(0))
  const { issuer, port } = running
  const site: ProviderSite = {
    issuer,
    authorityPem,
    accounts,
    claimsOf: undefined,
    settings: {
      issuer,
      clientId: client.id,
      clientSecretFile,
      caFile,
      groupsClaim,
      scopes: ['openid', 'profile', 'email', 'offline_access'],
      adminGroups: [],
      auditorGroups: [],
      linkByEmail: false,
      ...more,
    },
    signIn(url, email) {
      const account = accounts.find((one) => one.email === email) ?? { email, password: 'wrong' }
      return signInAt(authorityPem, url, account)
    },
    keys: () => keys,
    async stop() {
      await running?.close()
      running = undefined
    },
    async start(newKeys = false) {
      if (newKeys) keys = [createSigningKey(signing)]
      running = await startDevelopmentProvider(options(port))
    },
    async close() {
      await running?.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
  return site
}
