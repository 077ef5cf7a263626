/** What the spool remembers besides its segments: sealed, small, written before anything is removed. */
import { existsSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import { readPrivateFile } from '../../protocols/kit/private-file.ts'

const count = z.int().nonnegative()
const position = z.strictObject({
  /** Boots so far. */
  boot: count,
  /** Head of the newest epoch before this boot. */
  head: z
    .strictObject({
      epoch: z.uuid(),
      batch: count,
      sequence: count,
      link: z.string().regex(/^[0-9a-f]{64}$/),
    })
    .exactOptional(),
  /** Last batch that control acknowledged, per epoch. */
  acknowledged: z.record(z.uuid(), count),
})
export type Position = z.infer<typeof position>

const fileName = 'position'
const label = 'sallyport spool position'

/** Undefined if there is none. Throws if it was changed or sealed with another key. */
export function readPosition(directory: string, key: Buffer): Position | undefined {
  const path = join(directory, fileName)
  if (!existsSync(path)) return undefined
  const text = unseal(key, readPrivateFile(path), label).toString('utf8')
  return position.parse(JSON.parse(text))
}

/** Durable when it resolves. One at a time. */
export async function writePosition(
  directory: string,
  key: Buffer,
  value: Position,
): Promise<void> {
  const path = join(directory, fileName)
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(seal(key, Buffer.from(JSON.stringify(value)), label))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  await using parent = await open(directory, 'r')
  await parent.sync()
}
