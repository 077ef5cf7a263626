/** Who is behind a TLS connection: a verified certificate, and then the row it names, as it is now. */
import type { TLSSocket } from 'node:tls'
import { keyIdOf } from '../../certs/key-signer.ts'
import { verifyClientCertificate, type VerifiedClient } from '../../certs/verify.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { role, type Role } from '../api/names.ts'
import type { Route } from '../api/routes.ts'
import type { Login } from '../api/shapes.ts'
import { nowMs, type Control } from '../control.ts'
import { loginColumns, loginViewOf, type LoginRow } from '../login/login-row.ts'
import { notAllowed } from '../refusals.ts'
import type { AnyoneCaller, PersonCaller, ProxyCaller } from './handlers.ts'

type Scope = Pick<Control, 'realm' | 'demo' | 'state' | 'clock' | 'keys'>

export interface Shown {
  readonly socket: TLSSocket
  /** The header; only looked at where no certificate was sent. */
  readonly authorization: string | undefined
  /** Says who is behind a personal API token. Rejects with `token-refused` or `rate-limited`. */
  readonly authenticateToken: (authorization: string) => Promise<PersonCaller>
}

/** Rejects with `evidence-missing`, `evidence-invalid`, `evidence-expired`, `token-refused`, `rate-limited` or `not-allowed`. */
export async function authenticate(
  control: Scope,
  { socket, authorization, authenticateToken }: Shown,
  route: Pick<Route, 'access' | 'token' | 'signedIn'>,
): Promise<AnyoneCaller | PersonCaller | ProxyCaller> {
  const { access } = route
  if (access === 'anyone') return { kind: 'anyone' }
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined && authorization !== undefined && access !== 'proxy') {
    const caller = await authenticateToken(authorization)
    requireScope(caller, route)
    return requireRole(caller, access)
  }
  if (certificate === undefined) {
    throw new SallyportError('evidence-missing', 'no client certificate', {
      clientMessage: 'this needs a client certificate, and none was sent',
      hint: 'sign in: sally login; or send your certificate with its key',
    })
  }
  if (access === 'proxy') return authenticateProxy(control, certificate.raw)
  const caller = requireRole(await authenticatePerson(control, certificate.raw), access)
  if (route.signedIn === true) requireSignIn(caller)
  return caller
}

function requireRole(caller: PersonCaller, access: readonly Role[]): PersonCaller {
  if (!caller.roles.some((mine) => access.includes(mine))) {
    throw notAllowed(
      `this is for ${access.map((role) => `${role}s`).join(' and ')}; you are ${caller.roles.map((role) => `${/^[aeiou]/.test(role) ? 'an' : 'a'} ${role}`).join(' and ') || 'none of them'}`,
      'ask an admin',
    )
  }
  return caller
}

/** Closed unless the route names a scope. */
function requireScope(caller: PersonCaller, { token: needed }: Pick<Route, 'token'>): void {
  if (caller.via !== 'token') return
  if (needed === undefined) {
    throw notAllowed('an API token cannot do this', 'use sally with a signed-in home')
  }
  if (caller.token.scope === 'apps')
    throw notAllowed('an API token of scope apps', 'it reaches apps, and nothing here')
  if (needed === 'request' && caller.token.scope !== 'request') {
    throw notAllowed(
      'this API token may only read',
      'make one with: sally token create --scope request',
    )
  }
}

/** Whoever issues a certificate for somebody can use it; only the identity provider says who is there. */
function requireSignIn(caller: PersonCaller): void {
  if (caller.via === 'certificate' && caller.login !== null) return
  throw notAllowed(
    'this takes a sign-in of your own, and your certificate was issued by an admin',
    'sign in: sally login; where control has no identity provider, nobody can decide requests (operators: --oidc-issuer)',
  )
}

interface PersonRow {
  readonly email: string
  readonly name: string
  readonly roles: string[]
  readonly groups: string[]
  readonly state: 'active' | 'revoked'
  readonly createdAtMs: number
  readonly validFromMs: number
  readonly certificateKnown: boolean
  readonly certificateRevoked: boolean
  readonly loginId: string | null
}

async function authenticatePerson(control: Scope, der: Buffer): Promise<PersonCaller> {
  const verified = verify(control, der, 'person')
  const [row] = await control.state.query<PersonRow>(
    `select p.email, p.name, p.roles, p.groups, p.state, p.created_at_ms as "createdAtMs",
       p.certificates_valid_from_ms as "validFromMs", c.serial is not null as "certificateKnown",
       c.revoked_at_ms is not null as "certificateRevoked", c.login_id as "loginId"
     from people p left join certificates c
       on c.realm = p.realm and c.serial = $3 and c.holder_id = p.id and c.kind = 'person'
     where p.realm = $1 and p.id = $2`,
    [control.realm, verified.id, verified.serial],
  )
  if (row === undefined) throw refused(`person ${verified.id} does not exist`)
  if (row.state !== 'active') throw refused(`person ${verified.id} is revoked`)
  // One that control did not issue, whoever signed it, and one that was revoked.
  if (!row.certificateKnown) throw refused(`certificate ${verified.serial} is not known`)
  if (row.certificateRevoked) throw refused(`certificate ${verified.serial} is revoked`)
  if (verified.issuedAtMs < row.validFromMs) {
    throw refused(`certificate ${verified.serial} is from before the person was restored`)
  }
  return {
    kind: 'person',
    id: verified.id,
    email: row.email,
    name: row.name,
    roles: row.roles.filter(isRole),
    groups: row.groups,
    createdAtMs: row.createdAtMs,
    via: 'certificate',
    certificate: { serial: verified.serial, expiresAtMs: verified.expiresAtMs },
    login: row.loginId === null ? null : await readLogin(control, row.loginId),
  }
}

/** Rejects for a sign-in that is over, also if its certificate should still run. */
async function readLogin(control: Scope, id: string): Promise<Login> {
  const [row] = await control.state.query<LoginRow>(
    `select ${loginColumns} from logins where realm = $1 and id = $2`,
    [control.realm, id],
  )
  if (row === undefined || row.endedAtMs !== null || row.endsAtMs <= nowMs(control.clock)) {
    throw refused(`login ${id} has ended`)
  }
  return loginViewOf(row)
}

/** Also used for the upgrade to the feed. Rejects like `authenticate`. */
export async function authenticateProxy(
  control: Scope,
  der: Buffer,
): Promise<ProxyCaller & { readonly expiresAtMs: number; readonly domain: string }> {
  const verified = verify(control, der, 'proxy')
  const [row] = await control.state.query<{
    name: string
    group: string
    domain: string
    revoked: boolean
    certificateCounts: boolean
  }>(
    `select p.name, p.group_name as "group", g.domain, p.revoked_at_ms is not null as revoked,
       c.serial is not null and c.revoked_at_ms is null as "certificateCounts"
     from proxies p
     join proxy_groups g on g.realm = p.realm and g.name = p.group_name
     left join certificates c
       on c.realm = p.realm and c.serial = $3 and c.holder_id = p.id and c.kind = 'proxy'
     where p.realm = $1 and p.id = $2`,
    [control.realm, verified.id, verified.serial],
  )
  if (row === undefined) throw refused(`proxy ${verified.id} does not exist`)
  if (row.revoked) throw refused(`proxy ${verified.id} is revoked`)
  if (!row.certificateCounts)
    throw refused(`certificate ${verified.serial} of proxy ${verified.id}`)
  return {
    kind: 'proxy',
    id: verified.id,
    name: row.name,
    group: row.group,
    domain: row.domain,
    certificateSerial: verified.serial,
    publicKey: verified.publicKey,
    kid: keyIdOf(verified.publicKey),
    expiresAtMs: verified.expiresAtMs,
  }
}

function verify(control: Scope, der: Buffer, kind: 'person' | 'proxy'): VerifiedClient {
  const purpose = kind === 'person' ? 'people' : 'proxies'
  const verified = verifyClientCertificate(der, {
    authoritiesPem: control.keys.authoritiesPem[purpose],
    kind,
    atMs: nowMs(control.clock),
  })
  if (verified.realm !== control.realm) throw refused(`it is of realm ${verified.realm}`)
  if (verified.demo !== control.demo) throw refused('a demo and a real server do not mix')
  return verified
}

function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', `client certificate refused: ${why}`, {
    clientMessage: 'your client certificate was refused',
    hint: 'sign in again: sally login; the operator of control can see the reason in its log',
  })
}

export function isRole(word: string): word is Role {
  return role.safeParse(word).success
}
