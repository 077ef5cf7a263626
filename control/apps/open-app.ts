import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Level } from '../api/names.ts'
import type { Why } from '../api/request.ts'
import type { Resource } from '../api/resource.ts'
import { nowMs, type Control } from '../control.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { notFound, conflict } from '../refusals.ts'
import { explainAccess } from '../requests/explain-access.ts'
import { reachesResources } from '../ssh/reaches-resources.ts'
import type { Sql } from '../store/store.ts'
import { appOrigin, finishUrl } from './app-url.ts'
import { readLastEnd, readLastRefusal, type LastEnd, type LastRefusal } from './last-end.ts'
import type { Visit } from './visit.ts'

export type Way =
  | { readonly kind: 'granted'; readonly grant: FittingGrant }
  /** `why` is never empty: something would let them in. */
  | {
      readonly kind: 'no-grant'
      readonly why: Why
      readonly lastEnd: LastEnd | undefined
      readonly refusal: LastRefusal | undefined
    }

const codeMs = 60_000
/** Codes of one person that nobody traded: they reload, or somebody makes their browser. */
const openCodesMax = 100
/** What one person opens in an hour: each time is an entry of the chain, for good. */
const openedInHourMax = 500
const hourMs = 3_600_000

export interface FittingGrant {
  readonly id: string
  readonly level: Level
}

/**
 * Whether a signed-in browser gets on to the app that it came from: the newest grant that covers the level it wants, else what would help.
 * Rejects with `not-found`, in the same words and time, for an app that does not exist and for one that no flow lets them ask for.
 */
export async function findWay(control: Control, person: ConsolePerson, visit: Visit): Promise<Way> {
  const { state, realm, clock } = control
  const atMs = nowMs(clock)
  const { resource } = visit
  const about = { personId: person.id, resource, atMs }
  // All of it also for what there is not: nothing shows in its time.
  const isOne = await isApp(state, realm, visit)
  const grant = await findGrant(state, realm, person, visit, atMs)
  const lastEnd = await readLastEnd(state, realm, about)
  const refusal = await readLastRefusal(state, realm, about)
  const why = await explainAccess(control, askerOf(person), resource).catch(unlessNotFound)
  if (!isOne || !reachesResources(person.roles)) throw notFound('app')
  if (grant !== undefined) return { kind: 'granted', grant }
  if (why === undefined) throw notFound('app')
  return { kind: 'no-grant', why, lastEnd, refusal }
}

function unlessNotFound(error: unknown): undefined {
  if (error instanceof SallyportError && error.code === 'not-found') return undefined
  throw error
}

/**
 * Where the browser goes on to: with a code that is good once, within a minute; or, from a visit of long ago, to begin anew there. Rejects
 * with `conflict` for too many.
 */
export async function enterApp(
  control: Control,
  person: ConsolePerson,
  visit: Visit,
  grant: FittingGrant,
): Promise<string> {
  if (!visit.fresh) return `${appOrigin(visit)}/`
  return finishUrl(visit, await giveCode(control, person, visit, grant), visit.challenge)
}

/** As access flows know them: an auditor neither asks nor decides. */
export function askerOf({ id, email, groups, roles }: ConsolePerson) {
  return reachesResources(roles) ? { id, email, groups } : { id, email: '', groups: [] }
}

async function isApp(sql: Sql, realm: string, visit: Visit): Promise<boolean> {
  const [row] = await sql.query<{ definition: Resource }>(
    'select definition from resources where realm = $1 and name = $2 and group_name = $3',
    [realm, visit.resource, visit.group],
  )
  return row?.definition.protocol === 'http'
}

/** The newest grant that covers the level; one of a higher level does too. */
export async function findGrant(
  sql: Sql,
  realm: string,
  person: Pick<ConsolePerson, 'id'>,
  visit: Pick<Visit, 'resource' | 'group' | 'level'>,
  atMs: number,
): Promise<FittingGrant | undefined> {
  const [row] = await sql.query<FittingGrant>(
    `select g.id, g.level from grants g
     join resources r on r.realm = g.realm and r.name = g.resource and r.group_name = g.group_name
     where g.realm = $1 and g.person_id = $2 and g.resource = $3 and g.group_name = $4
       and g.revoked_at_ms is null and g.expires_at_ms > $6
       and array_position($7::text[], g.level) >= array_position($7::text[], $5)
       and r.definition -> 'levels' ? g.level
     order by g.made_at_ms desc, g.id desc limit 1`,
    [
      ...[realm, person.id, visit.resource, visit.group, visit.level, atMs],
      ['read', 'write', 'delete', 'admin'],
    ],
  )
  return row
}

async function giveCode(
  { realm, state, clock }: Control,
  person: ConsolePerson,
  visit: Visit,
  grant: FittingGrant,
): Promise<string> {
  const code = randomBytes(32)
  const atMs = nowMs(clock)
  await state.transaction(async (sql) => {
    // Their codes are given one at a time, so that they can be counted.
    await sql.query('select 1 from logins where realm = $1 and id = $2 for update', [
      realm,
      person.loginId,
    ])
    await sql.query(
      `delete from browser_sign_ins where realm = $1 and person_id = $2 and resource = $3
         and used_at_ms is null and code_ends_at_ms < $4`,
      [realm, person.id, visit.resource, atMs],
    )
    const [counted] = await sql.query<{ open: number; opened: number }>(
      `select count(*) filter (where used_at_ms is null and ended_at_ms is null
           and code_ends_at_ms > $3) as "open",
         count(*) filter (where used_at_ms > $4) as opened
       from browser_sign_ins where realm = $1 and person_id = $2`,
      [realm, person.id, atMs, atMs - hourMs],
    )
    if (counted!.open >= openCodesMax) {
      throw conflict('you are on your way to too many apps at once', 'wait a minute')
    }
    if (counted!.opened >= openedInHourMax) {
      throw conflict(`you opened apps ${counted!.opened} times within an hour`, 'wait an hour')
    }
    await sql.query(
      `insert into browser_sign_ins (realm, id, login_id, person_id, resource, grant_id, level,
         group_name, proxy_id, code_hash, challenge, made_at_ms, code_ends_at_ms, expires_at_ms)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
      [
        ...[realm, randomUUID(), person.loginId, person.id, visit.resource, grant.id, grant.level],
        ...[visit.group, visit.proxyId, createHash('sha256').update(code).digest()],
        ...[visit.challenge, atMs, atMs + codeMs, person.endsAtMs],
      ],
    )
  })
  return code.toString('base64url')
}
