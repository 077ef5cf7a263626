/**
 * The file of a proxy's sealed secrets: a JSON map of name to value, sealed as one. Here, because both the proxy (which reads
 * it) and `sally secret set` (which writes it, on the proxy's machine) need its form. No route ever carries it.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile, writePrivateFile } from '../../protocols/kit/private-file.ts'
import { loadOrCreateSealingKey, seal, unseal } from '../../protocols/kit/sealed-file.ts'

const label = 'sallyport secrets'
const secretName = z.string().regex(/^[\x21-\x7e]{1,500}$/)
const content = z.record(secretName, z.string().min(1).max(65_536))

/** Where a proxy's data directory has them: both the proxy and `sally secret set` ask here. */
export function sealedSecretsIn(directory: string): { file: string; keyFile: string } {
  return { file: join(directory, 'secrets.sealed'), keyFile: join(directory, 'secrets.key') }
}

/**
 * The secrets in `file`; none if it does not exist.
 * @throws SallyportError `sealed-file-invalid` for another key or a changed file, `config-invalid` if others may read it.
 */
export function readSealedSecrets(file: string, keyFile: string): ReadonlyMap<string, string> {
  if (!existsSync(file)) return new Map()
  const plaintext = unseal(readPrivateFile(keyFile), readPrivateFile(file), label)
  try {
    return new Map(Object.entries(content.parse(JSON.parse(plaintext.toString('utf8')))))
  } catch {
    // The cause would quote the content.
    throw new SallyportError('sealed-file-invalid', `${file}: not a map of secrets`)
  } finally {
    plaintext.fill(0)
  }
}

/** Replaces the file, atomically; the key file is made if it is missing. Throws `usage` for a name or value that cannot be. */
export function writeSealedSecrets(
  file: string,
  keyFile: string,
  secrets: ReadonlyMap<string, string>,
): void {
  const parsed = content.safeParse(Object.fromEntries(secrets))
  if (!parsed.success) {
    const message =
      'a secret has a name of 1 to 500 printable characters and a value of 1 to 65,536'
    throw new SallyportError('usage', message, { clientMessage: message })
  }
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 })
  const plaintext = Buffer.from(JSON.stringify(parsed.data))
  writePrivateFile(file, seal(loadOrCreateSealingKey(keyFile), plaintext, label))
  plaintext.fill(0)
}
