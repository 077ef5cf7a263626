import type { Log } from '../../protocols/engine.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { splitPem } from '../split-pem.ts'
import { createTlsContexts, type TlsContexts } from '../tls-contexts.ts'

export interface Tls {
  readonly contexts: TlsContexts
  /** Whose certificates of people count: as the feed says, and until it has said anything as they were at the join. */
  readonly peopleAuthoritiesPem: () => readonly string[]
}

/** Contexts that follow what control says of the authorities of people. */
export function openTls({
  identity,
  view,
  log,
}: {
  readonly identity: () => ProxyIdentity
  readonly view: Pick<ControlView, 'peopleAuthorities' | 'onChange'>
  readonly log: Log
}): Tls {
  const peopleAuthoritiesPem = (): readonly string[] =>
    view.peopleAuthorities.length > 0
      ? view.peopleAuthorities
      : splitPem(identity().peopleAuthoritiesPem)
  const { domain } = identity()
  const contexts = createTlsContexts({ domain, identity, peopleAuthoritiesPem })
  view.onChange((change) => {
    if (change.kind !== 'people-authorities' && change.kind !== 'resynced') return
    try {
      contexts.reload()
    } catch (error) {
      log.error({ error: String(error) }, 'an authority of people cannot be used')
    }
  })
  return { contexts, peopleAuthoritiesPem }
}
