/** The flags and variables that say which identity provider control signs people in with. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { peopleGroup } from '../api/names.ts'
import type { LoginSettings } from './login-settings.ts'

const text = { type: 'string' } as const
export const loginFlags = {
  'login-life': text,
  'oidc-issuer': text,
  'oidc-client-id': text,
  'oidc-client-secret-file': text,
  'oidc-ca-file': text,
  'oidc-scopes': text,
  'oidc-groups-claim': text,
  'oidc-admin-group': { type: 'string', multiple: true },
  'oidc-auditor-group': { type: 'string', multiple: true },
  'oidc-link-by-email': { type: 'boolean' },
  'oidc-trust-unmarked-emails': { type: 'boolean' },
  'oidc-missing-groups-mean-none': { type: 'boolean' },
} as const

type Flag = Exclude<keyof typeof loginFlags, 'login-life'>
type Given = { readonly [F in Flag]?: string | string[] | boolean | undefined }

const usualScopes = 'openid profile email offline_access'
const scopeShape = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/, 'is no scope')

/** Undefined: none is configured. Throws `usage` for what does not fit together. */
export function readLoginOptions(
  given: Given,
  environment: NodeJS.ProcessEnv,
): LoginSettings | undefined {
  const one = (flag: Flag): string | undefined => {
    const value = given[flag] ?? environment[variableOf(flag)]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const several = (flag: 'oidc-admin-group' | 'oidc-auditor-group'): string[] => {
    const value = given[flag]
    const names = Array.isArray(value)
      ? value
      : (environment[`${variableOf(flag)}S`] ?? '').split(',').map((name) => name.trim())
    return names.filter((name) => name !== '').map((name) => check(flag, peopleGroup, name))
  }
  const [issuer, clientId] = [one('oidc-issuer'), one('oidc-client-id')]
  if (issuer === undefined || clientId === undefined) {
    const set = Object.keys(loginFlags).filter(
      (flag) => flag !== 'login-life' && given[flag as Flag] !== undefined,
    )
    if (issuer === undefined && clientId === undefined && set.length === 0) return undefined
    throw wrong('--oidc-issuer and --oidc-client-id go together, and with every other --oidc flag')
  }
  const isSet = (flag: Flag): boolean => given[flag] === true
  if (isSet('oidc-link-by-email') && isSet('oidc-trust-unmarked-emails')) {
    throw wrong(
      '--oidc-link-by-email and --oidc-trust-unmarked-emails do not go together: whoever chooses an address there would be its person here',
    )
  }
  const [secretFile, caFile] = [one('oidc-client-secret-file'), one('oidc-ca-file')]
  const scopes = (one('oidc-scopes') ?? usualScopes).split(/\s+/).filter((scope) => scope !== '')
  if (!scopes.includes('openid')) throw wrong('--oidc-scopes must hold openid')
  return {
    issuer: check('oidc-issuer', z.url({ protocol: /^https$/ }).max(2_000), issuer),
    clientId: check('oidc-client-id', z.string().max(500), clientId),
    ...(secretFile === undefined ? {} : { clientSecretFile: resolve(secretFile) }),
    ...(caFile === undefined ? {} : { caFile: resolve(caFile) }),
    groupsClaim: check(
      'oidc-groups-claim',
      z.string().max(200),
      one('oidc-groups-claim') ?? 'groups',
    ),
    scopes: scopes.map((scope) => check('oidc-scopes', scopeShape, scope)),
    adminGroups: several('oidc-admin-group'),
    auditorGroups: several('oidc-auditor-group'),
    linkByEmail: isSet('oidc-link-by-email'),
    trustUnmarkedEmails: isSet('oidc-trust-unmarked-emails'),
    missingGroupsMeanNone: isSet('oidc-missing-groups-mean-none'),
  }
}

/** `oidc-ca-file`: SALLYPORT_OIDC_CA_FILE. */
function variableOf(flag: Flag): string {
  return `SALLYPORT_${flag.replaceAll('-', '_').toUpperCase()}`
}

function check<T>(flag: Flag, shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value)
  if (parsed.success) return parsed.data
  throw wrong(`--${flag} ${String(value)}: ${parsed.error.issues[0]!.message}`)
}

function wrong(message: string): SallyportError {
  return new SallyportError('usage', message, {
    clientMessage: message,
    hint: 'see node control/main.ts --help',
  })
}
