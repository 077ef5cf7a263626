import { readFileSync } from 'node:fs'

/** The version of this checkout, from package.json. */
export function readVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  const parsed: unknown = JSON.parse(readFileSync(file, 'utf8'))
  const version = typeof parsed === 'object' && parsed !== null && 'version' in parsed
  return version ? String(parsed.version) : 'unknown'
}
