/** Who somebody is before a resource is named: the part of the gate that comes before admission. */
import type { ProtocolName } from '../../protocols/activity.ts'
import type { Gate, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { toSallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { Metrics } from '../observe/metrics.ts'
import { untilRefusal } from '../sessions/until-refusal.ts'
import type { Identify } from './identify.ts'
import type { Identities } from './identities.ts'
import { recogniseKey } from './recognise-key.ts'
import type { SignIns } from './sign-in.ts'

export interface IdentificationOptions {
  /** Of whoever asks. */
  readonly protocol: ProtocolName
  readonly identify: Identify
  readonly identities: Pick<Identities, 'make'>
  readonly signIns: Pick<SignIns, 'signIn'>
  readonly view: Pick<ControlView, 'sshAuthorities' | 'sshKey'>
  readonly clock: Clock
  readonly limits: Pick<Limits, 'refusalMs'>
  readonly metrics: Pick<Metrics, 'refused' | 'identified'>
  readonly log: Log
}

export type Identification = Pick<Gate, 'identify' | 'recognises' | 'signIn'>

export function createIdentification(options: IdentificationOptions): Identification {
  const { identify, identities, signIns, view, clock, limits, metrics, log } = options

  function tell(thrown: unknown, remoteAddress: string, what: string): Error {
    const refusal = toSallyportError(thrown)
    const { code, message: why } = refusal
    metrics.refused(options.protocol, code)
    const fields = { code, why, remoteAddress }
    if (code === 'internal') log.error({ ...fields, error: refusal.stack }, what)
    else log.info(fields, what)
    return refusal
  }

  return {
    async identify(evidence, remoteAddress) {
      const arrivedMs = clock.monotonicMs()
      try {
        const facts = identify(evidence, remoteAddress)
        const identity = identities.make(facts)
        metrics.identified(facts.kind)
        return identity
      } catch (error) {
        const refusal = tell(error, remoteAddress, 'not identified')
        await untilRefusal(clock, limits, arrivedMs)
        throw refusal
      }
    },
    recognises: (publicKey) => Promise.resolve(recogniseKey(publicKey, view)),
    async signIn(remoteAddress, show, signal) {
      try {
        const identity = await signIns.signIn(remoteAddress, show, signal)
        metrics.identified('login')
        return identity
      } catch (error) {
        // Somebody who left is nobody's refusal.
        if (signal.aborted) throw error
        throw tell(error, remoteAddress, 'not signed in')
      }
    },
  }
}
