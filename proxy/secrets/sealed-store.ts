import { readSealedSecrets } from '../../control/api/sealed-secrets.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import type { SecretStore } from './secret-store.ts'

/** Secrets in the sealed file that `sally secret set` writes: `sealed:orders-db/read`. Read anew each time. */
export function createSealedStore(file: string, keyFile: string): SecretStore {
  return {
    name: 'sealed',
    // eslint-disable-next-line typescript/require-await -- other stores have to wait
    async fetch(path) {
      const value = readSealedSecrets(file, keyFile).get(path)
      if (value === undefined) {
        throw new SallyportError('secret-unavailable', `${file} has no secret ${path}`)
      }
      return new Secret(value)
    },
  }
}
