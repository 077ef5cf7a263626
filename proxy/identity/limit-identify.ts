import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import { sshFingerprint } from '../../protocols/kit/ssh-public-key.ts'
import type { Identify } from './identify.ts'

const windowMs = 60_000
const perAddressMax = 60
/** More than of an address: a public key is no secret, and its owner should not be kept out by one who only knows it. */
const perKeyMax = 300

/** Counts SSH keys that were not proven, by address and by key; who fails too often is not looked at (`rate-limited`). */
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
    const fingerprint = sshFingerprint(evidence.publicKey)
    ofAddress.require(remoteAddress)
    ofKey.require(fingerprint)
    try {
      return identify(evidence, remoteAddress)
    } catch (error) {
      // Who is only late is not guessing.
      if (error instanceof SallyportError && error.code === 'evidence-invalid') {
        ofAddress.failed(remoteAddress)
        ofKey.failed(fingerprint)
      }
      throw error
    }
  }
}
