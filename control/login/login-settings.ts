import { existsSync, readFileSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile } from '../../protocols/kit/private-file.ts'
import { Secret } from '../../protocols/kit/secret.ts'

/** How control is registered at the identity provider, and what it makes of its answers. */
export interface LoginSettings {
  /** The issuer identifier, as discovery and tokens spell it. https only. */
  readonly issuer: string
  readonly clientId: string
  /** A 0600 file. Absent: control is a public client, protected by PKCE alone. */
  readonly clientSecretFile?: string
  /** PEM of what the issuer's certificate must come from. Absent: the authorities that Node knows. */
  readonly caFile?: string
  /** Default `groups`. */
  readonly groupsClaim: string
  readonly scopes: readonly string[]
  /** Given either, roles follow the groups at each sign-in; given neither, new people are engineers and roles stay as they are. */
  readonly adminGroups: readonly string[]
  readonly auditorGroups: readonly string[]
  /**
   * Whether the first sign-in takes over a `local` person of the same verified address. Who controls the provider's addresses
   * then controls those people.
   */
  readonly linkByEmail: boolean
  /**
   * Whether an address counts as verified where the provider says nothing about it (it sends no `email_verified`; a no stays a no).
   * Who can choose their own address there then is whoever flows and admins mean by it. Not together with `linkByEmail`.
   */
  readonly trustUnmarkedEmails?: boolean
  /** Whether who is sent without the groups claim is in no group. Default: they are refused, for the claim may be missing by mistake. */
  readonly missingGroupsMeanNone?: boolean
}

export interface OpenedSettings extends LoginSettings {
  readonly clientSecret: Secret<string> | undefined
  readonly authorityPem: string | undefined
}

/** Reads the files. Rejects with `config-invalid`: a control that cannot sign anybody in should say so when it starts. */
export function openLoginSettings(settings: LoginSettings): OpenedSettings {
  const { clientSecretFile, caFile } = settings
  return {
    ...settings,
    clientSecret:
      clientSecretFile === undefined
        ? undefined
        : new Secret(requireText(clientSecretFile, readPrivateFile(clientSecretFile))),
    authorityPem: caFile === undefined ? undefined : requirePem(caFile),
  }
}

function requireText(file: string, bytes: Buffer): string {
  const text = bytes.toString('utf8').trim()
  if (text === '') throw wrong(`${file} is empty`)
  return text
}

function requirePem(file: string): string {
  if (!existsSync(file)) throw wrong(`${file} does not exist`)
  const text = readFileSync(file, 'utf8')
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw wrong(`${file} holds no certificate`)
  return text
}

function wrong(message: string): SallyportError {
  return new SallyportError('config-invalid', message, {
    clientMessage: message,
    hint: 'see --oidc-client-secret-file and --oidc-ca-file in node control/main.ts --help',
  })
}
