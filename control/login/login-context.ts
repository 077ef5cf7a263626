import type { z } from 'zod'
import type { protocol } from '../api/names.ts'
import type { Control } from '../control.ts'
import { signInUnavailable } from './login-refusals.ts'
import type { IdentityProvider } from './identity-provider.ts'

/** What a new home is told of the proxy, as far as control knows. */
export interface ProxyPlace {
  readonly host: string
  readonly ports: Readonly<Partial<Record<z.infer<typeof protocol>, number>>>
}

export interface LoginContext {
  readonly control: Control
  /** Undefined: none is configured, and nobody can sign in. */
  readonly provider: IdentityProvider | undefined
  readonly proxy: ProxyPlace | undefined
}

/** Throws `sign-in-unavailable` where none is configured. */
export function requireProvider({ provider }: LoginContext): IdentityProvider {
  if (provider !== undefined) return provider
  throw signInUnavailable(
    'this control has no identity provider to sign in with',
    'ask an admin for a signed-in home: sally people certificate EMAIL --home DIR; operators: --oidc-issuer',
  )
}
