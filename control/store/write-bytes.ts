/** Writes rows with long bytea parameters to PGlite as they are: its own `query` sends them as hex, twice as long. */
import type { PGlite } from '@electric-sql/pglite'
import { serialize } from 'pg-protocol'

const longBytes = 4_096

type Plain = Uint8Array | string | number | bigint | boolean | null | undefined

/** An insert that returns nothing, has a long parameter, and none that only PGlite can word (lists, documents). */
export function writesBytes(
  text: string,
  parameters: readonly unknown[],
): parameters is readonly Plain[] {
  return (
    parameters.some((value) => value instanceof Uint8Array && value.length >= longBytes) &&
    parameters.every(isPlain) &&
    /^\s*insert\b/i.test(text) &&
    !/\breturning\b/i.test(text)
  )
}

/** The extended query protocol in one go (PostgreSQL 55.2.3). Rejects with the database's error. */
export async function writeBytes(
  database: PGlite,
  text: string,
  parameters: readonly Plain[],
): Promise<void> {
  const messages = [
    serialize.parse({ text }),
    serialize.bind({ values: parameters.map(wireValue) }),
    serialize.execute({}),
    serialize.sync(),
  ]
  await database.execProtocol(Buffer.concat(messages))
}

function isPlain(value: unknown): value is Plain {
  return typeof value === 'object' ? value === null || value instanceof Uint8Array : true
}

/** Bytes go in binary, everything else as text. */
function wireValue(value: Plain): string | Buffer | null {
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
  return String(value)
}
