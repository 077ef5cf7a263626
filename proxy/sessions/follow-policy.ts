import type { Clock } from '../../protocols/kit/clock.ts'
import { bindSecret } from '../policy/bind-secret.ts'
import { keepsBinding } from '../policy/keeps-binding.ts'
import type { OpenedPolicy } from '../policy/open-policy.ts'
import type { LiveSession } from './live-session.ts'
import type { Registry } from './registry.ts'

export interface FollowPolicyOptions {
  readonly policy: Pick<OpenedPolicy, 'current' | 'onChange'>
  readonly registry: Pick<Registry, 'all' | 'cut'>
  readonly clock: Pick<Clock, 'wallMs'>
}

/**
 * Live sessions follow the policy: one whose secret may not go any more where the session has it go is cut, for a session of HTTP borrows
 * it again for each request. The others go on as they began, and what is newly allowed waits for the next session.
 */
export function followPolicy({ policy, registry, clock }: FollowPolicyOptions): void {
  const isBound = ({ resource, labels, binding }: LiveSession): boolean => {
    try {
      return keepsBinding(binding, bindSecret(policy.current, resource, labels.level))
    } catch {
      return false
    }
  }
  policy.onChange(() => {
    const unbound = [...registry.all()].filter((session) => !isBound(session))
    const detail = "the proxy's policy changed"
    registry.cut(unbound, { reason: 'resource-removed', orderedAtMs: clock.wallMs(), detail })
  })
}
