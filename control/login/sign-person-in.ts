import { randomUUID } from 'node:crypto'
import type { Role } from '../api/names.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor } from '../control.ts'
import { personColumns, type PersonRow } from '../people/person-row.ts'
import type { Sql } from '../store/store.ts'
import { requireProvider, type LoginContext } from './login-context.ts'
import { signInRefused } from './login-refusals.ts'
import type { LoginSettings } from './login-settings.ts'
import { requireVerifiedEmail, type ProviderIdentity } from './read-identity.ts'

/**
 * The person behind an issuer and subject, locked to the commit, with the groups (and roles, where they follow groups) that the
 * provider says now. Somebody new is added, or is linked to the local person of their verified address where the operator
 * allows that. Rejects with `sign-in-refused`.
 */
export async function signPersonIn(
  sql: Sql,
  context: LoginContext,
  identity: ProviderIdentity,
  remoteAddress: string,
): Promise<PersonRow> {
  const { realm } = context.control
  const { settings } = requireProvider(context)
  const [known] = await sql.query<PersonRow>(
    `select ${personColumns} from people where realm = $1 and issuer = $2 and subject = $3 for update`,
    [realm, identity.issuer, identity.subject],
  )
  const person =
    known ??
    (await linkPerson(sql, context, identity, remoteAddress)) ??
    (await addPerson(sql, context, identity, remoteAddress))
  if (person.state !== 'active') {
    throw signInRefused('you were shut out of this control', 'ask an admin: sally people restore')
  }
  const roles = rolesOf(settings, identity.groups) ?? person.roles
  const row: PersonRow = {
    ...person,
    roles,
    groups: [...identity.groups],
    name: identity.name === '' ? person.name : identity.name,
  }
  await sql.query(
    'update people set groups = $3, roles = $4, name = $5 where realm = $1 and id = $2',
    [realm, row.id, row.groups, row.roles, row.name],
  )
  return row
}

async function linkPerson(
  sql: Sql,
  context: LoginContext,
  identity: ProviderIdentity,
  remoteAddress: string,
): Promise<PersonRow | undefined> {
  const { control } = context
  const { linkByEmail } = requireProvider(context).settings
  const email = requireVerifiedEmail(identity)
  const [found] = await sql.query<PersonRow & { issuer: string }>(
    `select issuer, ${personColumns} from people where realm = $1 and email = $2 for update`,
    [control.realm, email],
  )
  if (found === undefined) return undefined
  if (found.issuer !== 'local' || !linkByEmail) {
    throw signInRefused(
      `there is already a person with the address ${email}, and it is not this sign-in`,
      'ask an admin; operators may let first sign-ins take over local people: --oidc-link-by-email',
    )
  }
  if (found.state !== 'active') return found
  await sql.query('update people set issuer = $3, subject = $4 where realm = $1 and id = $2', [
    control.realm,
    found.id,
    identity.issuer,
    identity.subject,
  ])
  await appendControlAction(sql, control.chain, actorFor(found, remoteAddress), {
    action: 'person.linked',
    target: found.id,
    details: { email, issuer: identity.issuer, subject: identity.subject },
  })
  return found
}

async function addPerson(
  sql: Sql,
  context: LoginContext,
  identity: ProviderIdentity,
  remoteAddress: string,
): Promise<PersonRow> {
  const { control } = context
  const row: PersonRow = {
    id: randomUUID(),
    email: requireVerifiedEmail(identity),
    name: identity.name,
    roles: rolesOf(requireProvider(context).settings, identity.groups) ?? ['engineer'],
    groups: [...identity.groups],
    state: 'active',
    createdAtMs: nowMs(control.clock),
    revokedAtMs: null,
    certificatesValidFromMs: 0,
  }
  await sql.query(
    `insert into people (realm, id, issuer, subject, email, name, roles, state, created_at_ms,
       certificates_valid_from_ms, groups) values ($1, $2, $3, $4, $5, $6, $7, 'active', $8, 0, $9)`,
    [
      ...[control.realm, row.id, identity.issuer, identity.subject, row.email, row.name],
      ...[row.roles, row.createdAtMs, row.groups],
    ],
  )
  await appendControlAction(sql, control.chain, actorFor(row, remoteAddress), {
    action: 'person.created',
    target: row.id,
    details: {
      ...{ email: row.email, name: row.name, roles: row.roles, groups: row.groups },
      ...{ issuer: identity.issuer, subject: identity.subject },
    },
  })
  return row
}

/** Undefined where roles do not follow groups. */
function rolesOf(settings: LoginSettings, groups: readonly string[]): Role[] | undefined {
  const { adminGroups, auditorGroups } = settings
  if (adminGroups.length === 0 && auditorGroups.length === 0) return undefined
  const isIn = (names: readonly string[]): boolean => names.some((name) => groups.includes(name))
  return [
    'engineer',
    ...(isIn(adminGroups) ? (['admin'] as const) : []),
    ...(isIn(auditorGroups) ? (['auditor'] as const) : []),
  ]
}

export function actorFor(person: Pick<PersonRow, 'id' | 'email'>, remoteAddress: string): Actor {
  return { id: person.id, email: person.email, remoteAddress }
}
