import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** The version of this software, from its package. */
export function readVersion(): string {
  const path = new URL('../package.json', import.meta.url)
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(path, 'utf8'))).version
}
