/** Writes rows with long bytea parameters to PGlite as they are: its own `query` sends them as hex, twice as long. */
import type { PGlite } from '@electric-sql/pglite'
import { serialize } from 'pg-protocol'

const longBytes = 4_096

/** An insert that returns nothing and has a long parameter. */
export function writesBytes(text: string, parameters: readonly unknown[]): boolean {
  return (
    parameters.some((value) => value instanceof Uint8Array && value.length >= longBytes) &&
    /^\s*insert\b/i.test(text) &&
    !/\breturning\b/i.test(text)
  )
}

/** The extended query protocol in one go (PostgreSQL 55.2.3). Rejects with the database's error. */
export async function writeBytes(
  database: PGlite,
  text: string,
  parameters: readonly unknown[],
): Promise<void> {
  const messages = [
    serialize.parse({ text }),
    serialize.bind({ values: parameters.map(wireValue) }),
    serialize.execute({}),
    serialize.sync(),
  ]
  await database.execProtocol(Buffer.concat(messages))
}

/** Bytes go in binary, everything else as text. */
function wireValue(value: unknown): string | Buffer | null {
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') {
    return String(value)
  }
  throw new TypeError(`a parameter of type ${typeof value} cannot be written beside bytes`)
}
