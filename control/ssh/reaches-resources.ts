import type { Role } from '../api/names.ts'

/** Whether somebody of these roles may reach resources at all: an auditor reads what was done, and signs in to nothing else. */
export function reachesResources(roles: readonly Role[]): boolean {
  return roles.some((role) => role !== 'auditor')
}
