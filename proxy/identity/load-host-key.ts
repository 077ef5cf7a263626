import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createPrivateFile, readPrivateFile } from '../../protocols/kit/private-file.ts'

/** The proxy's SSH host key (Ed25519, PKCS #8, mode 0600), made at the first start. Throws `config-invalid`. */
export function loadHostKey(dataDir: string): KeyObject {
  const path = join(dataDir, 'ssh-host.key')
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync('ed25519')
    createPrivateFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  }
  const refuse = (what: string, cause?: unknown): SallyportError =>
    new SallyportError('config-invalid', `${path} ${what}`, {
      clientMessage: `${path} ${what}`,
      hint: 'move it away: a new one is made at the next start, and clients that pinned the old one will say so',
      cause,
    })
  let key: KeyObject
  try {
    key = createPrivateKey(readPrivateFile(path))
  } catch (error) {
    throw error instanceof SallyportError ? error : refuse('is not a private key', error)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw refuse('is not an Ed25519 key')
  return key
}
