/**
 * Countersigned heads that this home has seen. Whoever cuts the tail of a chain can cut its signatures too, but not
 * what is remembered here.
 */
import { existsSync } from 'node:fs'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile, writePrivateFile } from '../../protocols/kit/private-file.ts'
import { checkpointClaims } from '../api/tokens.ts'

const rememberedHeads = z.object({
  version: z.literal(1),
  /** `kid`s of countersignature keys. */
  keys: z.array(z.string().max(64)),
  /** One for each epoch of each chain: the newest seen. */
  heads: z.array(checkpointClaims),
})
export type RememberedHeads = z.infer<typeof rememberedHeads>
export type Head = RememberedHeads['heads'][number]

export function readHeads(file: string): RememberedHeads {
  if (!existsSync(file)) return { version: 1, keys: [], heads: [] }
  try {
    return rememberedHeads.parse(JSON.parse(readPrivateFile(file).toString('utf8')))
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw new SallyportError('config-invalid', `${file} cannot be read`, {
      clientMessage: `${file} is damaged: it holds the audit heads that this home has seen`,
      hint: 'restore it from a copy; without it a cut tail may stay unseen. To start anew, move it away',
      cause: error,
    })
  }
}

/** Adds what was seen; of each epoch the head that is furthest stays. */
export function rememberHeads(
  file: string,
  known: RememberedHeads,
  seen: { keys: readonly string[]; heads: readonly Head[] },
): void {
  const heads = new Map<string, Head>()
  for (const head of [...known.heads, ...seen.heads]) {
    const key = `${head.realm} ${head.chain} ${head.epoch}`
    const before = heads.get(key)
    if (before === undefined || head.batch > before.batch) heads.set(key, head)
  }
  const keys = [...new Set([...known.keys, ...seen.keys])]
  writePrivateFile(file, `${JSON.stringify({ version: 1, keys, heads: [...heads.values()] })}\n`)
}

/** The claims of a countersignature that was verified elsewhere; undefined if it is not of that form. */
export function readHead(countersignature: string): Head | undefined {
  try {
    const payload = countersignature.split('.')[1] ?? ''
    const json: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
    return checkpointClaims.parse(json)
  } catch {
    return undefined
  }
}
