import { createPublicKey, type KeyObject } from 'node:crypto'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Signer } from '../../certs/signer.ts'
import { signToken, verifyToken, type CheckpointClaims, type SigningKey } from '../api/tokens.ts'
import type { AuditContext } from './dependencies.ts'

/** The proxy that speaks, as its client certificate says. */
export interface SpeakingProxy {
  readonly proxyId: string
  readonly publicKey: KeyObject
  /** `Signer.kid` of that key. */
  readonly kid: string
}

/**
 * Verifies a checkpoint with the key of the proxy's certificate, or with an earlier one of the same proxy (it may have
 * been renewed since it signed). Rejects with `evidence-invalid`.
 */
export async function verifyCheckpoint(
  { store, realm }: Pick<AuditContext, 'store' | 'realm'>,
  proxy: SpeakingProxy,
  token: string,
): Promise<CheckpointClaims> {
  const keys = new Map([[proxy.kid, proxy.publicKey]])
  if (kidOf(token) !== proxy.kid) {
    const rows = await store.query<{ kid: string; public_key_pem: string }>(
      `select kid, public_key_pem from audit_keys
       where realm = $1 and chain = $2 and use = 'checkpoint'`,
      [realm, proxy.proxyId],
    )
    for (const row of rows) {
      if (!keys.has(row.kid)) keys.set(row.kid, createPublicKey(row.public_key_pem))
    }
  }
  const claims = await verifyToken('checkpoint', token, (kid) => {
    const key = keys.get(kid)
    if (key === undefined) throw new Error(`key ${kid} is not one of proxy ${proxy.proxyId}`)
    return key
  })
  if (claims.realm !== realm || claims.chain !== proxy.proxyId) {
    throw new SallyportError(
      'evidence-invalid',
      `checkpoint of chain ${claims.realm}/${claims.chain} from proxy ${proxy.proxyId}`,
    )
  }
  return claims
}

function kidOf(token: string): string | undefined {
  try {
    const header: unknown = JSON.parse(
      Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString('utf8'),
    )
    return typeof header === 'object' && header !== null && 'kid' in header
      ? String(header.kid)
      : undefined
  } catch {
    return undefined
  }
}

/** Control's signature of the same head, with control's time. */
export function countersign(
  { signer, clock }: Pick<AuditContext, 'signer' | 'clock'>,
  claims: CheckpointClaims,
): Promise<string> {
  return signToken(
    'countersignature',
    { ...claims, atMs: Math.floor(clock.wallMs()) },
    signingKey(signer),
  )
}

function signingKey(signer: Signer): SigningKey {
  return { kid: signer.kid, alg: signer.algorithm, sign: (data) => signer.sign(data) }
}
