import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { loadOrCreateSealingKey } from '../../protocols/kit/sealed-file.ts'
import type { Sql } from '../store/store.ts'

/**
 * The key that seals all others. It is made only while there is nothing to open with it: otherwise a mistyped path would look
 * like a new installation. Rejects with `config-invalid` or `sealed-file-invalid`.
 */
export async function openSealingKey(state: Sql, file: string): Promise<Buffer> {
  if (!existsSync(file)) {
    const [sealed] = await state.query('select 1 from signing_keys limit 1')
    if (sealed !== undefined) {
      const message = `the keys in this database are sealed, and ${file} does not exist`
      throw new SallyportError('config-invalid', message, {
        clientMessage: message,
        hint: 'copy the sealing key of the first control there, or name it: SALLYPORT_SEALING_KEY_FILE',
      })
    }
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  }
  return loadOrCreateSealingKey(file)
}
