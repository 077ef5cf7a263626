/**
 * The grants this proxy knows, by person and resource: bounded, and only ever filled with tokens that
 * verified. What falls out is not lost: control confirms every session and names the grant again.
 */
import { LRUCache } from 'lru-cache'
import type { GrantClaims } from '../../control/api/tokens.ts'
import type { Resource } from '../../control/api/resource.ts'

export interface HeldGrant {
  readonly claims: GrantClaims
  /** The compact JWS that the claims come from. */
  readonly token: string
  /** The key that signed it. */
  readonly kid: string
}

/** (person, resource) pairs held; one pair has a handful of grants. */
export const grantPairsMax = 100_000
const grantsPerPairMax = 64

export interface GrantCache {
  /** Keeps the grant unless a higher revision of it is held. */
  put(grant: HeldGrant): void
  get(grantId: string): HeldGrant | undefined
  remove(grantId: string): void
  /** Newest first. */
  of(personId: string, resource: string): readonly HeldGrant[]
  all(): Iterable<HeldGrant>
  clear(): void
  readonly size: number
}

export function createGrantCache(pairsMax = grantPairsMax): GrantCache {
  const pairOf = new Map<string, string>()
  const pairs = new LRUCache<string, readonly HeldGrant[]>({
    max: pairsMax,
    dispose: (grants, _, reason) => {
      // A replaced list still stands for its grants; only a list that left takes its index along.
      if (reason !== 'set') for (const grant of grants) pairOf.delete(grant.claims.grantId)
    },
  })

  const remove = (grantId: string): void => {
    const pair = pairOf.get(grantId)
    if (pair === undefined) return
    pairOf.delete(grantId)
    const left = (pairs.peek(pair) ?? []).filter((grant) => grant.claims.grantId !== grantId)
    if (left.length > 0) pairs.set(pair, left)
    else pairs.delete(pair)
  }
  const get = (grantId: string): HeldGrant | undefined => {
    const pair = pairOf.get(grantId)
    if (pair === undefined) return undefined
    return pairs.peek(pair)?.find((grant) => grant.claims.grantId === grantId)
  }

  return {
    put(grant) {
      const { grantId, personId, resource, revision } = grant.claims
      const held = get(grantId)
      if (held !== undefined && held.claims.revision > revision) return
      remove(grantId)
      const pair = pairKey(personId, resource)
      const grants = [grant, ...(pairs.peek(pair) ?? [])].sort(newestFirst)
      for (const dropped of grants.splice(grantsPerPairMax)) pairOf.delete(dropped.claims.grantId)
      if (grants.includes(grant)) pairOf.set(grantId, pair)
      pairs.set(pair, grants)
    },
    get,
    remove,
    of: (personId, resource) => pairs.get(pairKey(personId, resource)) ?? [],
    *all() {
      for (const grants of pairs.values()) yield* grants
    },
    clear() {
      pairs.clear()
      pairOf.clear()
    },
    get size() {
      return pairOf.size
    },
  }
}

function pairKey(personId: string, resource: string): string {
  return `${personId} ${resource}`
}

function newestFirst(left: HeldGrant, right: HeldGrant): number {
  return right.claims.notBeforeMs - left.claims.notBeforeMs
}

/**
 * The grant a person means: the one whose level or account they named, else the newest. Ended ones and those
 * below their floor are for the caller to leave out through `usable`.
 */
export function chooseGrant(
  grants: readonly HeldGrant[],
  resource: Resource,
  wanted: string,
  usable: (grant: HeldGrant) => boolean,
): HeldGrant | undefined {
  return grants.find((grant) => matchesWanted(grant.claims, resource, wanted) && usable(grant))
}

/** Whether a grant is one that the named level or account means; '' means any. */
export function matchesWanted(claims: GrantClaims, resource: Resource, wanted: string): boolean {
  const level = resource.levels[claims.level]
  if (level === undefined) return false
  return wanted === '' || wanted === claims.level || wanted === level.account
}
