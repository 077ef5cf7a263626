/** What tokens look like, and all that is kept or sent of one: its digest. */
import { createHash, randomBytes } from 'node:crypto'

/** 192 bits; a digest of so much chance needs no salt and no slow hash. */
const secretBytes = 24
const prefixes = { connect: 'sp1_', api: 'spa_' } as const
const forms = { connect: /^sp1_[A-Za-z0-9_-]{32}$/, api: /^spa_[A-Za-z0-9_-]{32}$/ } as const

export type TokenKind = keyof typeof prefixes

/** A new one. The prefix lets scanners for leaked secrets know it. */
export function createToken(kind: TokenKind): string {
  return prefixes[kind] + randomBytes(secretBytes).toString('base64url')
}

/** SHA-256 of a token, or undefined if the text cannot be one. */
export function tokenDigest(kind: TokenKind, text: string): Buffer | undefined {
  return forms[kind].test(text) ? createHash('sha256').update(text).digest() : undefined
}
