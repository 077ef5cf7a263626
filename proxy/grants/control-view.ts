/**
 * What this proxy knows of control's decisions, as far as it has read the feed. Events are applied in the order of the
 * feed, in memory first (a revocation waits for no disk); keeping them is state-journal.ts's.
 */
import type { FeedEvent } from '../../control/api/feed.ts'
import type { Resource } from '../../control/api/resource.ts'
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Log } from '../../protocols/engine.ts'
import { createSshView, type RegisteredKey } from './ssh-view.ts'
import { createFloors, type Floor, type Floors } from './floors.ts'
import { createGrantCache, type GrantCache, type HeldGrant } from './grant-cache.ts'
import { createTokenKeys, verifyGrant, type TokenKeys } from './verify-grant.ts'

/** What listeners are told, synchronously, right after the view has it. */
export type ViewChange =
  | Exclude<FeedEvent, { kind: 'grant' | 'keys' }>
  | { kind: 'grant'; claims: GrantClaims }
  | { kind: 'resynced' }

/** Why a person with a certificate may not use a grant; for the operator. */
export type Objection =
  | 'person-revoked'
  | 'certificate-revoked'
  | 'no-resource'
  | 'grant-revoked'
  | 'grant-ended'
  | 'grant-not-begun'

/**
 * What a person was identified by: a certificate of X.509 or SSH, a connect token, a registered key, a login at the terminal, a browser's
 * sign-in to one app, or an API token.
 */
export interface EvidenceFacts {
  readonly personId: string
  readonly kind: 'certificate' | 'token' | 'key' | 'login' | 'browser' | 'api-token'
  /** Of the certificate. A token's, login's or sign-in's id, which is a UUID and so never a serial number; a key's fingerprint (`SHA256:…`). */
  readonly serial: string
  readonly issuedAtMs: number
}

interface PersonState {
  revoked: boolean
  /** Certificates issued at or before this do not count. */
  certificatesAfterMs: number
}

export interface ControlView {
  readonly position: number
  readonly peopleAuthorities: readonly string[]
  /** Blobs of the authorities that sign what people log in with over SSH, and nothing else. */
  readonly sshAuthorities: readonly Buffer[]
  readonly grants: GrantCache
  readonly floors: Floors
  readonly keys: TokenKeys
  resource(name: string): Resource | undefined
  resourceCount(): number
  resources(): Iterable<Resource>
  /** By `SHA256:…`. */
  sshKey(fingerprint: string): RegisteredKey | undefined
  /** Applies events in order; resolves when all are. Calls must not overlap. */
  apply(position: number, events: readonly FeedEvent[]): Promise<void>
  /** Forgets all but the floors and takes the events as the whole. Calls must not overlap. */
  replace(position: number, events: readonly FeedEvent[]): Promise<void>
  /** Takes a grant that control named in a confirmation. Rejects with `evidence-invalid`. */
  learn(token: string): Promise<HeldGrant>
  /** Floors read back from disk. */
  restoreFloors(floors: readonly Floor[]): void
  /** What stands against the certificate; undefined when nothing does. */
  certificateObjection(facts: EvidenceFacts): 'person-revoked' | 'certificate-revoked' | undefined
  /** What stands against a session under these claims at this moment; undefined when nothing does. */
  objection(facts: EvidenceFacts, claims: GrantClaims, nowMs: number): Objection | undefined
  onChange(listener: (change: ViewChange) => void): void
  /** Calls `run` once the position is reached (at once if it is). Returns how to give up. */
  onceAt(position: number, run: () => void): () => void
  /** The whole as events, for the journal. Drops what ended long before `nowMs`. */
  snapshot(nowMs: number): { position: number; events: FeedEvent[]; floors: Floor[] }
}

export function createControlView(log: Log): ControlView {
  const grants = createGrantCache()
  const floors = createFloors()
  const keys = createTokenKeys()
  let keyList: { kid: string; publicKeyPem: string }[] = []
  let position = 0
  let peopleAuthorities: readonly string[] = []
  let resources = new Map<string, Resource>()
  const ssh = createSshView(log)
  let persons = new Map<string, PersonState>()
  let certificates = new Map<string, { orderedAtMs: number; expiresAtMs: number }>()
  const listeners: ((change: ViewChange) => void)[] = []
  const waiting = new Set<{ position: number; run: () => void }>()

  const tell = (change: ViewChange): void => {
    for (const listener of listeners) listener(change)
  }
  const take = (grant: HeldGrant): boolean => {
    if (!floors.allows(grant.claims)) return false
    floors.seen(grant.claims)
    grants.put(grant)
    return true
  }
  const reach = (to: number): void => {
    position = to
    for (const waiter of waiting) {
      if (waiter.position > to) continue
      waiting.delete(waiter)
      waiter.run()
    }
  }

  /** Verification is the only thing that waits, so it is done before anything changes. */
  const verify = (token: string): Promise<HeldGrant | undefined> =>
    verifyGrant(token, keys).catch((error: unknown) => {
      log.error({ error: String(error) }, 'a grant of the feed does not verify; left out')
      return undefined
    })

  function applyGrant(grant: HeldGrant | undefined): ViewChange | undefined {
    return grant !== undefined && take(grant) ? { kind: 'grant', claims: grant.claims } : undefined
  }

  function applyOne(event: Exclude<FeedEvent, { kind: 'grant' }>): ViewChange | undefined {
    switch (event.kind) {
      case 'grant-revoked': {
        const held = grants.get(event.grantId)?.claims
        floors.raise(event.grantId, event.revision, held?.expiresAtMs)
        if (held !== undefined && held.revision < event.revision) grants.remove(event.grantId)
        return event
      }
      case 'person-revoked':
        personChanged(event.personId, true, event.orderedAtMs)
        return event
      case 'person-restored':
        personChanged(event.personId, false, event.atMs)
        return event
      case 'certificate-revoked':
        certificates.set(event.serial, event)
        return event
      case 'resource':
        resources.set(event.resource.name, event.resource)
        return event
      case 'resource-removed':
        resources.delete(event.name)
        return event
      case 'keys':
        keys.replace(event.keys)
        keyList = event.keys
        for (const grant of [...grants.all()]) {
          if (!keys.has(grant.kid)) grants.remove(grant.claims.grantId)
        }
        return undefined
      case 'people-authorities':
        peopleAuthorities = event.pems
        return event
      case 'ssh-authorities':
        ssh.setAuthorities(event.people)
        return event
      case 'ssh-key':
        ssh.addKey(event)
        return event
      case 'ssh-key-removed':
        ssh.removeKey(event.fingerprint)
        return event
      case 'session-cut':
        return event
    }
  }

  function personChanged(personId: string, revoked: boolean, atMs: number): void {
    const certificatesAfterMs = Math.max(atMs, persons.get(personId)?.certificatesAfterMs ?? 0)
    persons.set(personId, { revoked, certificatesAfterMs })
  }

  function certificateObjection(facts: EvidenceFacts) {
    const person = persons.get(facts.personId)
    if (person?.revoked === true) return 'person-revoked'
    if (person !== undefined && facts.issuedAtMs <= person.certificatesAfterMs) {
      return 'certificate-revoked'
    }
    if (facts.kind === 'key' && ssh.key(facts.serial)?.personId !== facts.personId) {
      return 'certificate-revoked'
    }
    return certificates.has(facts.serial) ? 'certificate-revoked' : undefined
  }

  return {
    get position() {
      return position
    },
    get peopleAuthorities() {
      return peopleAuthorities
    },
    get sshAuthorities() {
      return ssh.authorities
    },
    grants,
    floors,
    keys,
    resource: (name) => resources.get(name),
    resourceCount: () => resources.size,
    resources: () => resources.values(),
    sshKey: (fingerprint) => ssh.key(fingerprint),
    async apply(to, events) {
      for (const event of events) {
        const change =
          event.kind === 'grant' ? applyGrant(await verify(event.token)) : applyOne(event)
        if (change !== undefined) tell(change)
      }
      reach(to)
    },
    async replace(to, events) {
      for (const event of events) if (event.kind === 'keys') keys.replace(event.keys)
      const verified: (HeldGrant | undefined)[] = []
      for (const event of events) {
        if (event.kind === 'grant') verified.push(await verify(event.token))
      }
      // From here on nothing waits: nobody is admitted by a view that is half replaced.
      const personsBefore = persons
      grants.clear()
      resources = new Map()
      persons = new Map()
      certificates = new Map()
      ssh.clearKeys()
      for (const event of events) if (event.kind !== 'grant') applyOne(event)
      for (const grant of verified) applyGrant(grant)
      for (const [personId, before] of personsBefore) {
        // Floors of certificates outlive a resync, as floors of grants do.
        personChanged(personId, persons.get(personId)?.revoked ?? false, before.certificatesAfterMs)
      }
      tell({ kind: 'resynced' })
      reach(to)
    },
    async learn(token) {
      const grant = await verifyGrant(token, keys)
      if (take(grant)) tell({ kind: 'grant', claims: grant.claims })
      return grant
    },
    restoreFloors(stored) {
      for (const { grantId, revision, untilMs } of stored) floors.raise(grantId, revision, untilMs)
    },
    certificateObjection,
    objection(facts, claims, nowMs) {
      const objection = certificateObjection(facts)
      if (objection !== undefined) return objection
      if (resources.get(claims.resource)?.levels[claims.level] === undefined) return 'no-resource'
      if (!floors.allows(claims)) return 'grant-revoked'
      if (claims.expiresAtMs <= nowMs) return 'grant-ended'
      return undefined
    },
    onChange: (listener) => void listeners.push(listener),
    onceAt(wanted, run) {
      if (wanted <= position) {
        run()
        return () => {}
      }
      const waiter = { position: wanted, run }
      waiting.add(waiter)
      return () => void waiting.delete(waiter)
    },
    snapshot(nowMs) {
      floors.prune(nowMs)
      const events: FeedEvent[] = [
        { kind: 'keys', keys: keyList },
        { kind: 'people-authorities', pems: [...peopleAuthorities] },
        ...ssh.events(nowMs),
      ]
      for (const resource of resources.values()) events.push({ kind: 'resource', resource })
      for (const [personId, { revoked, certificatesAfterMs }] of persons) {
        events.push(
          revoked
            ? { kind: 'person-revoked', personId, orderedAtMs: certificatesAfterMs }
            : { kind: 'person-restored', personId, atMs: certificatesAfterMs },
        )
      }
      for (const [serial, { orderedAtMs, expiresAtMs }] of certificates) {
        // A day more than its life, so that a clock set back does not revive it.
        if (expiresAtMs + 86_400_000 >= nowMs) {
          events.push({ kind: 'certificate-revoked', serial, orderedAtMs, expiresAtMs })
        }
      }
      for (const grant of grants.all()) {
        if (grant.claims.expiresAtMs >= nowMs) events.push({ kind: 'grant', token: grant.token })
      }
      return { position, events, floors: floors.all() }
    },
  }
}
