import type { ApiClient } from '../../api/client.ts'
import { ok, warn, type Check } from './check.ts'

/** What the proxies themselves say that their operator should mend. Only admins and auditors may ask: nothing for others. */
export async function checkProxies(api: ApiClient, roles: readonly string[]): Promise<Check[]> {
  if (!roles.includes('admin') && !roles.includes('auditor')) return []
  const name = 'proxies'
  const { items } = await api.call('groups')
  const connected = items
    .flatMap(({ proxies }) => proxies)
    .filter(({ state }) => state === 'connected')
  const warned = connected.flatMap((proxy) =>
    proxy.warnings.map((warning) =>
      warn(
        name,
        `${proxy.name}: ${warning}`,
        'mend it on its machine, then start that proxy again',
      ),
    ),
  )
  return warned.length > 0 ? warned : [ok(name, `${connected.length} connected, without warnings`)]
}
