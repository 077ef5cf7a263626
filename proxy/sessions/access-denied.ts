import { SallyportError } from '../../protocols/kit/errors.ts'

/** Stands for a name that cannot be one; no resource is called this. */
export const noName = '-'

/** The same words for unknown and forbidden (design, invariant 4); `why` is for the operator. */
export function accessDenied(resource: string, why: string): SallyportError {
  const shown = resource === noName ? 'that resource' : `"${resource}"`
  return new SallyportError('access-denied', why, {
    clientMessage: `access to ${shown} is not granted`,
    hint: 'ask for it: sally request RESOURCE --level LEVEL --reason TEXT --wait; what you may ask for: sally resources',
  })
}
