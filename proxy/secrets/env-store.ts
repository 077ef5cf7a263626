import { SallyportError } from '../../protocols/kit/errors.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import type { SecretStore } from './secret-store.ts'

/** Secrets in environment variables: `env:ORDERS_DB_PASSWORD`. */
export function createEnvStore(
  environment: Readonly<Record<string, string | undefined>>,
): SecretStore {
  return {
    name: 'env',
    fetch(path) {
      const value = environment[path]
      if (value === undefined || value === '') {
        return Promise.reject(
          new SallyportError('secret-unavailable', `the environment has no ${path}`),
        )
      }
      return Promise.resolve(new Secret(value))
    },
  }
}
