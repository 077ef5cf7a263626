import type { Login } from '../api/shapes.ts'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import type { Control } from '../control.ts'

export interface LoginRow {
  readonly id: string
  readonly personId: string
  readonly issuer: string
  readonly authTimeMs: number | null
  readonly acr: string | null
  readonly amr: string[]
  readonly begunAtMs: number
  readonly endsAtMs: number
  readonly endedAtMs: number | null
  readonly sealedRefreshToken: Buffer | null
  readonly refreshingUntilMs: number
  /** Of a sign-in at a terminal: the proxy that holds it. */
  readonly proxyId: string | null
  /** The provider's own session. */
  readonly sid: string | null
}

export const loginColumns = `
  id, person_id as "personId", issuer, auth_time_ms as "authTimeMs", acr, amr, begun_at_ms as "begunAtMs",
  ends_at_ms as "endsAtMs", ended_at_ms as "endedAtMs", sealed_refresh_token as "sealedRefreshToken",
  refreshing_until_ms as "refreshingUntilMs",
  proxy_id as "proxyId", sid`

export function loginViewOf(
  row: Omit<LoginRow, 'personId' | 'endedAtMs' | 'refreshingUntilMs' | 'proxyId' | 'sid'>,
): Login {
  const { id, issuer, begunAtMs, endsAtMs, authTimeMs, acr, amr } = row
  const refreshable = row.sealedRefreshToken !== null
  return { id, issuer, begunAtMs, endsAtMs, authTimeMs, acr, amr: [...amr], refreshable }
}

export function sealRefreshToken(
  { keys, realm }: Control,
  loginId: string,
  token: string | undefined,
): Buffer | null {
  return token === undefined
    ? null
    : seal(keys.loginKey, Buffer.from(token), labelOf(realm, loginId))
}

export function unsealRefreshToken(
  { keys, realm }: Control,
  loginId: string,
  sealed: Buffer,
): string {
  return unseal(keys.loginKey, sealed, labelOf(realm, loginId)).toString('utf8')
}

function labelOf(realm: string, loginId: string): string {
  return `sallyport refresh token|${realm}|${loginId}`
}
