import { createHash } from 'node:crypto'
import type { Arrival } from '../../protocols/engine.ts'

/**
 * What two arrivals have to have in common to share a session: the same evidence, shown from the same address for the same resource, level
 * and protocol. A session says on record from where it is: a cookie or token that was taken shows as a session of its own. A digest, so
 * that no token is kept here. Undefined for evidence that cannot be shown twice.
 */
export function leaseKeyOf(arrival: Arrival, named: string): string | undefined {
  const shown = shownOf(arrival)
  if (shown === undefined) return undefined
  const hash = createHash('sha256').update(shown)
  // What follows is of our own or of bounded words; the digest of the evidence ends in a fixed length.
  const { protocol, wanted, evidence, remoteAddress } = arrival
  const digest = hash.digest('base64')
  return JSON.stringify([digest, evidence.kind, protocol, named, wanted, remoteAddress])
}

function shownOf({ evidence }: Arrival): string | Buffer | undefined {
  switch (evidence.kind) {
    case 'client-certificate':
      return evidence.certificate
    case 'bearer':
      return evidence.token.reveal()
    case 'browser-session':
      return evidence.cookie.reveal()
    // A token of one connection, a signature of one connection, somebody known on one, nobody.
    case 'token':
    case 'ssh-key':
    case 'identity':
    case 'none':
      return undefined
  }
}
