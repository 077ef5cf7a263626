import { SallyportError } from '../../protocols/kit/errors.ts'
import { levels } from '../../protocols/session.ts'

/** Stands for a name that cannot be one; no resource is called this. */
export const noName = '-'

/**
 * The same words for unknown and forbidden (design, invariant 4): nothing is in them but what the client said itself, the resource and
 * what it `wanted` there. `why` is for the operator.
 */
export function accessDenied(resource: string, wanted: string, why: string): SallyportError {
  const isNamed = resource !== noName
  // Whether an account is one, and of which level, is not for strangers.
  const level =
    wanted === '' ? 'read' : (levels.find((each) => each === wanted.toLowerCase()) ?? 'LEVEL')
  return new SallyportError('access-denied', why, {
    clientMessage: `access to ${isNamed ? `"${resource}"` : 'that resource'} is not granted`,
    hint: isNamed
      ? `ask for it: sally request ${resource} --level ${level} --reason TEXT --wait; what you may ask for: sally resources`
      : 'what you may ask for: sally resources',
  })
}
