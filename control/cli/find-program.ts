import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where a program is on PATH; undefined if it is not. Directories of PATH that are relative are passed over. */
export function findProgram(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  for (const directory of (environment['PATH'] ?? '').split(delimiter)) {
    if (!directory.startsWith('/')) continue
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      if (statSync(path).isFile()) return path
    } catch {
      // Not here: look on.
    }
  }
  return undefined
}
