import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'

import { join } from 'node:path'
import { mayReach, type Account } from './account.ts'

/** Survives a restart of the machine, unlike /tmp. */
const elsewhere = '/var/tmp'

const memoryOf = (directory: string, name: string): string => join(directory, `${name}-directory`)

/**
 * Where something of `directory` lives that another account has to enter: in it, or, if that account may not (a clone under
 * /root), in a directory of its own under /var/tmp, which a file remembers.
 */
export function placeFor(directory: string, name: string, account: Account | undefined): string {
  const here = join(directory, name)
  mkdirSync(here, { recursive: true, mode: 0o711 })
  // mkdir's mode is narrowed by the umask.
  chmodSync(here, 0o711)
  if (mayReach(here, account)) return here
  const memory = memoryOf(directory, name)
  if (existsSync(memory)) {
    const remembered = readFileSync(memory, 'utf8').trim()
    if (existsSync(remembered)) return remembered
  }
  const made = mkdtempSync(join(elsewhere, `sallyport-${name}-`))
  chmodSync(made, 0o711)
  writeFileSync(memory, `${made}\n`, { mode: 0o600 })
  return made
}

/** Removes what `placeFor` made elsewhere, if it did. */
export function removePlace(directory: string, name: string): void {
  const memory = memoryOf(directory, name)
  if (!existsSync(memory)) return
  rmSync(readFileSync(memory, 'utf8').trim(), { recursive: true, force: true })
}
