import type { Handlers } from '../handlers.ts'
import type { Checks } from '../readiness.ts'

/** The details of checks stay on the loopback port: strangers learn yes or no. */
export function healthHandlers(
  readChecks: () => Promise<Checks>,
): Pick<Handlers, 'health' | 'readiness'> {
  return {
    health: async () => ({ ok: true, checks: {} }),
    async readiness() {
      const checks = await readChecks()
      const shown = Object.entries(checks).map(
        ([name, { ok }]) => [name, { ok, detail: ok ? 'ok' : 'failing' }] as const,
      )
      return {
        ok: shown.every(([, check]) => check.ok),
        checks: Object.fromEntries(shown),
      }
    },
  }
}
