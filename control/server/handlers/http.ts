import type { Handlers } from '../handlers.ts'
import type { Control } from '../../control.ts'
import { finishApp } from '../../apps/finish-app.ts'
import { addAssertionKey } from '../../assertion-keys/add-assertion-key.ts'
import { listAssertionKeys } from '../../assertion-keys/list-assertion-keys.ts'
import { createRateLimit } from '../rate-limit.ts'

type HttpRoute = 'jwks' | 'proxyHttpFinish' | 'proxyAssertionKey'

const windowMs = 60_000
/** Of one proxy, which adds its key each day and when it starts. */
const keysMax = { perAddressMax: 30, overallMax: 3_000 }

export function httpHandlers(control: Control): Pick<Handlers, HttpRoute> {
  const countKey = createRateLimit({ clock: control.clock, windowMs, ...keysMax })
  let looking: ReturnType<typeof listAssertionKeys> | undefined
  return {
    async jwks(_request, { query: { domain } }) {
      // Anybody may ask: many at a time are answered by one look.
      looking ??= listAssertionKeys(control).finally(() => (looking = undefined))
      const found = await looking
      const theirs = found.filter((one) => domain === undefined || one.domain === domain)
      return { keys: theirs.map(({ key }) => key) }
    },
    proxyHttpFinish: ({ caller }, { body }) => finishApp(control, caller, body),
    async proxyAssertionKey({ caller, remoteAddress }, { body }) {
      countKey(caller.id)
      return addAssertionKey(control, caller, remoteAddress, body)
    },
  }
}
