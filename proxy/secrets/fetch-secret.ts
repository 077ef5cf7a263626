import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Secret } from '../../protocols/kit/secret.ts'
import type { SecretStore } from './secret-store.ts'

/** Fetches `<store>:<path>`. Rejects with `secret-unavailable`, whatever the store's own words were. */
export async function fetchSecret(
  stores: readonly SecretStore[],
  reference: string,
  signal: AbortSignal,
): Promise<Secret<string>> {
  const colon = reference.indexOf(':')
  const store = stores.find((each) => each.name === reference.slice(0, colon))
  try {
    if (store === undefined) throw new Error('this proxy has no such store')
    signal.throwIfAborted()
    return await store.fetch(reference.slice(colon + 1), signal)
  } catch (error) {
    throw new SallyportError('secret-unavailable', `secret ${reference}: ${String(error)}`, {
      clientMessage: 'the proxy cannot get the credential of this resource',
      hint: 'ask the operator of the proxy; its log says which secret is missing',
      cause: error,
    })
  }
}
