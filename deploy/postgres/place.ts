import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync, chmodSync } from 'node:fs'
import { join } from 'node:path'
import { mayReach, postgresAccount } from './account.ts'

/** Survives a restart of the machine, unlike /tmp. */
const elsewhere = '/var/tmp'

/**
 * Where a cluster of `directory` lives: in it, or, if the account that runs PostgreSQL may not enter it (a clone under
 * /root), in a directory of its own under /var/tmp, which a file remembers.
 */
export function clusterPlace(directory: string): string {
  const here = join(directory, 'postgres')
  mkdirSync(here, { recursive: true, mode: 0o711 })
  // mkdir's mode is narrowed by the umask.
  chmodSync(here, 0o711)
  if (mayReach(here, postgresAccount())) return here
  const memory = join(directory, 'postgres-directory')
  if (existsSync(memory)) {
    const remembered = readFileSync(memory, 'utf8').trim()
    if (existsSync(remembered)) return remembered
  }
  const made = mkdtempSync(join(elsewhere, 'sallyport-postgres-'))
  chmodSync(made, 0o711)
  writeFileSync(memory, `${made}\n`, { mode: 0o600 })
  return made
}
