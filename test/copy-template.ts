/**
 * Directories that take long to make and come out the same each time, such as what initdb makes: made once, kept in
 * `node_modules/.cache`, and copied.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const cache = join(import.meta.dirname, '../node_modules/.cache/sallyport')

/**
 * Makes `directory`, whose parent exists, a copy of what `make` makes in the directory that it is handed; that one does not exist yet. `name` says
 * all that the content depends on: program, version, options. Owners and modes are kept.
 */
export async function copyTemplate(
  name: string,
  directory: string,
  make: (fresh: string) => Promise<void> | void,
): Promise<void> {
  // Another user could neither read nor replace it.
  const template = join(cache, `${name}-of-${process.getuid?.() ?? 0}`)
  if (!existsSync(template)) await makeTemplate(template, make)
  execFileSync('cp', ['-a', template, directory])
}

async function makeTemplate(
  template: string,
  make: (fresh: string) => Promise<void> | void,
): Promise<void> {
  // Not in the cache: a server's own user may not be able to get there.
  const made = mkdtempSync(join(tmpdir(), 'sallyport-template-'))
  execFileSync('chmod', ['711', made])
  try {
    await make(join(made, 'data'))
    mkdirSync(cache, { recursive: true })
    const copy = mkdtempSync(`${template}-`)
    execFileSync('cp', ['-a', join(made, 'data'), join(copy, 'data')])
    try {
      renameSync(join(copy, 'data'), template)
    } catch (error) {
      // Another process may have been quicker.
      if (!existsSync(template)) throw error
    }
    rmSync(copy, { recursive: true, force: true })
  } finally {
    rmSync(made, { recursive: true, force: true })
  }
}
