import { protocolNames, type ProtocolName } from '../../protocols/activity.ts'
import { engines } from '../../protocols/index.ts'
import type { ProxyConfig } from '../config.ts'

/** What this process lacks to serve the protocols that it listens for as it should, one sentence each. */
export function shortcomings({
  listen,
}: Pick<ProxyConfig, 'listen'>): Partial<Record<ProtocolName, string | undefined>> {
  return Object.fromEntries(
    protocolNames
      .filter((protocol) => listen[protocol] !== undefined)
      .map((protocol) => [protocol, engines[protocol].shortcoming?.()]),
  )
}
