import { findProgram } from '../find-program.ts'
import type { Home } from '../home.ts'
import { ok, warn, type Check } from './check.ts'

/** For `sally curl`; nothing where the home knows of no web apps. A browser does without it. */
export function checkCurl({ config }: Home, environment: NodeJS.ProcessEnv): Check[] {
  if (config.proxyPorts.http === undefined) return []
  const path = findProgram('curl', environment)
  if (path !== undefined) return [ok('curl', path)]
  const install = 'sudo apt-get install curl (macOS has it); browsers need none'
  return [warn('curl', 'is not installed (it is not on PATH)', install)]
}
