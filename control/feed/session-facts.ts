/** Whether a person may open a session now: one statement, so one snapshot, with the feed's position in it. */
import type { ToControl, ToProxy } from '../api/feed.ts'
import type { Level } from '../api/names.ts'
import type { Sql } from '../store/store.ts'

export type Question = Extract<ToControl, { kind: 'confirm' }>
export type Verdict = Extract<ToProxy, { kind: 'confirmed' | 'denied' }>
export type Why = Extract<ToProxy, { kind: 'denied' }>['why']

export interface SessionFacts {
  readonly position: number
  readonly personState: 'active' | 'revoked' | null
  readonly personValidFromMs: number | null
  readonly certificateHolder: string | null
  readonly certificateRevokedAtMs: number | null
  readonly certificateIssuedAtMs: number | null
  readonly certificateExpiresAtMs: number | null
  readonly keyPerson: string | null
  readonly keyExpiresAtMs: number | null
  readonly loginPerson: string | null
  readonly loginBegunAtMs: number | null
  readonly loginEndsAtMs: number | null
  readonly loginEndedAtMs: number | null
  readonly browserPerson: string | null
  readonly browserResource: string | null
  readonly browserGrant: string | null
  readonly browserBegunAtMs: number | null
  readonly browserUsedAtMs: number | null
  readonly browserExpiresAtMs: number | null
  readonly browserEndedAtMs: number | null
  readonly resourceGroup: string | null
  readonly token: string | null
  readonly personEmail: string | null
  readonly grantLevel: Level | null
  readonly grantPerson: string | null
  readonly grantResource: string | null
  readonly grantGroup: string | null
  readonly grantExpiresAtMs: number | null
  readonly grantRevokedAtMs: number | null
  /** Whether the resource offers the grant's level, and it is the one that was asked for. */
  readonly levelFits: boolean | null
}

/**
 * The same statement whatever is asked about, so that nothing shows in its time. `wanted` is a level, an account of a level,
 * or '' for any: then it is the newest live grant. A grant that is named is looked up by its id alone.
 */
const question = `
  select h.position,
    p.state as "personState", p.email as "personEmail", p.certificates_valid_from_ms as "personValidFromMs",
    c.holder_id as "certificateHolder", c.revoked_at_ms as "certificateRevokedAtMs",
    c.issued_at_ms as "certificateIssuedAtMs", c.expires_at_ms as "certificateExpiresAtMs",
    k.person_id as "keyPerson", k.expires_at_ms as "keyExpiresAtMs",
    l.person_id as "loginPerson", l.begun_at_ms as "loginBegunAtMs", l.ends_at_ms as "loginEndsAtMs",
    l.ended_at_ms as "loginEndedAtMs",
    b.person_id as "browserPerson", b.resource as "browserResource", b.grant_id as "browserGrant",
    bl.begun_at_ms as "browserBegunAtMs", b.used_at_ms as "browserUsedAtMs",
    least(b.expires_at_ms, bl.ends_at_ms) as "browserExpiresAtMs",
    coalesce(b.ended_at_ms, bl.ended_at_ms) as "browserEndedAtMs", r.group_name as "resourceGroup",
    g.token, g.level as "grantLevel", g.person_id as "grantPerson", g.resource as "grantResource",
    g.group_name as "grantGroup", g.expires_at_ms as "grantExpiresAtMs",
    g.revoked_at_ms as "grantRevokedAtMs",
    (r.definition -> 'levels' ? g.level and ($5 = '' or g.level = $5
      or r.definition -> 'levels' -> g.level ->> 'account' = $5)) as "levelFits"
  from feed_heads h
  left join people p on p.realm = h.realm and p.id = $2::uuid
  left join certificates c on c.realm = h.realm and c.serial = $3 and c.kind = 'person'
  left join ssh_keys k on k.realm = h.realm and k.fingerprint = $8 and k.removed_at_ms is null
  left join logins l on l.realm = h.realm and l.id = $9::uuid and l.proxy_id = $10::uuid
  left join browser_sign_ins b on b.realm = h.realm and b.id = $11::uuid
  left join logins bl on bl.realm = b.realm and bl.id = b.login_id
  left join resources r on r.realm = h.realm and r.name = $4
  left join lateral (
    (select * from grants where realm = h.realm and id = $6::uuid)
    union all
    (select * from grants
     where $6::uuid is null and realm = h.realm and person_id = $2::uuid and resource = $4
       and revoked_at_ms is null and expires_at_ms > $7
       and ($5 = '' or level = $5 or r.definition -> 'levels' -> level ->> 'account' = $5)
     order by made_at_ms desc, id desc limit 1)
  ) g on true
  where h.realm = $1`

export async function readSessionFacts(
  sql: Sql,
  realm: string,
  asked: Question,
  atMs: number,
  /** Sign-ins at a terminal are of the proxy that holds the terminal. */
  proxyId?: string,
): Promise<SessionFacts> {
  const [facts] = await sql.query<SessionFacts>(question, [
    realm,
    asked.personId ?? null,
    asked.certificateSerial ?? '',
    asked.resource,
    asked.wanted,
    asked.grantId ?? null,
    atMs,
    asked.keyFingerprint ?? '',
    asked.loginId ?? null,
    proxyId ?? null,
    asked.browserSignInId ?? null,
  ])
  return facts!
}

/** What stands against the session; undefined when nothing does. `evidenceObjection`: what stands against the evidence. */
export function objection(
  facts: SessionFacts,
  asked: Question,
  group: string,
  atMs: number,
  evidenceObjection: Why | undefined,
): Why | undefined {
  if (facts.personState === null) return 'no-person'
  if (facts.personState !== 'active') return 'person-revoked'
  if (evidenceObjection !== undefined) return evidenceObjection
  if (facts.resourceGroup === null) return 'no-resource'
  if (facts.resourceGroup !== group) return 'not-in-group'
  if (
    facts.token === null ||
    facts.grantPerson !== asked.personId ||
    facts.grantResource !== asked.resource ||
    facts.grantGroup !== group ||
    facts.levelFits !== true
  ) {
    return 'no-grant'
  }
  if (facts.grantRevokedAtMs !== null || facts.grantExpiresAtMs! <= atMs) return 'grant-ended'
  return undefined
}
