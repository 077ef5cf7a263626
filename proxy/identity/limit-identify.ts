import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import { networkOf } from '../../protocols/kit/network-of.ts'
import { sshFingerprint } from '../../protocols/kit/ssh-public-key.ts'
import type { Identify } from './identify.ts'

const windowMs = 60_000
const perAddressMax = 60
/** Less than of an address: many may be behind one. */
const perKeyMax = 30

/**
 * Counts SSH keys that were not proven, by address and by key from there; who fails too often is not looked at (`rate-limited`). Never by key
 * alone: a public key is no secret, and its owner must not be kept out by who only knows it.
 */
export function limitIdentify(identify: Identify, clock: Clock): Identify {
  const ofAddress = createGuessLimit({ clock, windowMs, perAddressMax })
  const ofKey = createGuessLimit({
    clock,
    windowMs,
    perAddressMax: perKeyMax,
    what: 'with this key',
  })
  return (evidence, remoteAddress) => {
    if (evidence.kind !== 'ssh-key') return identify(evidence, remoteAddress)
    const keyThere = `${sshFingerprint(evidence.publicKey)} ${networkOf(remoteAddress)}`
    ofAddress.require(remoteAddress)
    ofKey.require(keyThere)
    try {
      return identify(evidence, remoteAddress)
    } catch (error) {
      // Who is only late is not guessing.
      if (error instanceof SallyportError && error.code === 'evidence-invalid') {
        ofAddress.failed(remoteAddress)
        ofKey.failed(keyThere)
      }
      throw error
    }
  }
}
