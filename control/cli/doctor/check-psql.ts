import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { findProgram } from '../find-program.ts'
import { fail, failed, ok, warn, type Check } from './check.ts'

/** libpq sends the host's name (SNI) since PostgreSQL 14. */
const versionWithNames = 14

export async function checkPsql(environment: NodeJS.ProcessEnv): Promise<Check> {
  const name = 'psql'
  const install = 'sudo apt-get install postgresql-client (macOS: brew install libpq)'
  const path = findProgram('psql', environment)
  if (path === undefined) return fail(name, 'is not installed (it is not on PATH)', install)
  try {
    const { stdout } = await promisify(execFile)(path, ['--version'], { timeout: 10_000 })
    const version = /(\d+)(\.\d+)*/.exec(stdout)
    if (version === null) return warn(name, `${path} does not say its version`, install)
    return Number(version[1]) < versionWithNames
      ? warn(
          name,
          `${version[0]} does not tell servers the host name; sally connect works all the same`,
          `for plain psql: user=<level>~<resource>, or psql ${versionWithNames} and newer`,
        )
      : ok(name, `${version[0]} at ${path}`)
  } catch (error) {
    return failed(name, error, install)
  }
}
