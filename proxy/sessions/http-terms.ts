import type { Resource } from '../../control/api/resource.ts'
import type { HttpTerms } from '../../protocols/session.ts'

/** What an HTTP resource says; undefined for a resource of another protocol. */
export function httpTermsOf({ http }: Resource): HttpTerms | undefined {
  if (http === undefined) return undefined
  const { version, host, redactedParameters, recording, limits } = http
  const { scope, ...credential } = { scope: undefined, ...http.credential }
  return {
    ...{ version, host, redactedParameters, recorded: recording, limits },
    credential: scope === undefined ? credential : { ...credential, scope },
    rules: http.rules.map(({ methods, path, needs }) => ({
      ...(methods === undefined ? {} : { methods }),
      ...{ path, needs },
    })),
  } as HttpTerms
}
