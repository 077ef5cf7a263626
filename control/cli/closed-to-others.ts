/** Files that say whom a person trusts: whoever can change them can lead that person elsewhere. */
import { statSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'

/** Why others could change what is at `path` (its permissions, its owner); undefined if they cannot, or it is not there. */
export function openToOthers(path: string): { what: string; mend: string } | undefined {
  const status = statSync(path, { throwIfNoEntry: false })
  if (status === undefined) return undefined
  const own = process.getuid?.()
  // The same as ssh asks of its configuration: ours, or root's.
  if (own !== undefined && status.uid !== own && status.uid !== 0) {
    return { what: `${path} belongs to somebody else`, mend: `chown ${own} ${path}` }
  }
  if ((status.mode & 0o022) === 0) return undefined
  const mode = status.isDirectory() ? '700' : '600'
  return { what: `others may change ${path}`, mend: `chmod ${mode} ${path}` }
}

/** Throws `config-invalid` for the first of `paths` that others could change. */
export function refuseOpenToOthers(paths: readonly string[]): void {
  for (const path of paths) {
    const open = openToOthers(path)
    if (open === undefined) continue
    const message = `${open.what}, and with it whom you trust`
    throw new SallyportError('config-invalid', message, {
      clientMessage: message,
      hint: `look at what is in it, then: ${open.mend}`,
    })
  }
}
