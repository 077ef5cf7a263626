import type { Dial } from './dial.ts'
import type { SessionFacts, SessionTools } from './session-parts.ts'
import { createSessionSockets, type SessionSockets } from './session-sockets.ts'

/** The sockets of a session: to its resource, or to the bastion before it. */
export function socketsOfSession(
  { labels, binding, resource }: SessionFacts,
  { startDial, limits, clock }: Pick<SessionTools, 'startDial' | 'limits' | 'clock'>,
  first: Dial,
): SessionSockets {
  const hop = binding.bastion ?? binding
  const target = { host: hop.host, port: hop.port, resource: labels.resource }
  return createSessionSockets({
    first,
    dial: () => startDial(target, limits.upstreamConnectMs, clock),
    allowsPeer: (address) => hop.allowsPeer(address),
    resource: labels.resource,
    // One connection for each request at a time (an HTTP/1.1 app answers them one after the other).
    pooledMax: resource.http?.limits.requestsMax ?? 0,
  })
}
