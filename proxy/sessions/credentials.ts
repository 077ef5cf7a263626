/** How a session logs in at its resource, or at the bastion before it: with a secret of the store, or a certificate for a key of its own. */
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import type { Credential, Session } from '../../protocols/session.ts'
import type { Binding, BoundSecret } from '../policy/bind-secret.ts'
import { createAccessTokens } from '../secrets/access-tokens.ts'
import { fetchSecret } from '../secrets/fetch-secret.ts'
import type { SecretStore } from '../secrets/secret-store.ts'

const certificatePrefix = 'certificate:'

/** Asks control for a certificate of one session. Rejects if it does not give one. */
export type CertifySession = (question: {
  readonly sessionId: string
  readonly grantId: string
  readonly publicKey: Buffer
  readonly of: 'resource' | 'bastion'
}) => Promise<Buffer>

const nonePrefix = 'none:'

export type Credentials = Pick<Session, 'borrow' | 'certify'> & {
  /** Forgets what is kept. */
  drop(): void
}

export interface CredentialsOptions {
  readonly sessionId: string
  readonly grantId: string
  readonly binding: Binding
  readonly stores: readonly SecretStore[]
  readonly certifySession: CertifySession
  readonly signal: AbortSignal
  readonly clock: Pick<Clock, 'monotonicMs' | 'startTimer'>
  /** Throws what a cut means. */
  readonly throwIfCut: () => void
}

export function createCredentials(options: CredentialsOptions): Credentials {
  const { sessionId, grantId, binding, stores, certifySession, signal, clock, throwIfCut } = options

  const boundTo = (of: 'resource' | 'bastion'): BoundSecret => {
    throwIfCut()
    const bound = of === 'bastion' ? binding.bastion : binding
    if (bound !== undefined) return bound
    throw new SallyportError('secret-not-bound', 'the resource has no bastion')
  }

  const tokens =
    binding.oauth &&
    createAccessTokens({
      ...{ credentials: binding.oauth, clientId: binding.account, signal, clock },
      fetchSecret: () => fetchSecret(stores, binding.reference, signal),
    })

  return {
    drop: () => tokens?.drop(),
    async borrow(of = 'resource'): Promise<Credential> {
      const { account, reference } = boundTo(of)
      if (reference.startsWith(nonePrefix)) {
        throw new SallyportError('secret-not-bound', 'the resource has no secret to borrow')
      }
      const traded = of === 'resource' ? tokens?.get() : undefined
      const secret = await (traded ?? fetchSecret(stores, reference, signal))
      try {
        throwIfCut()
      } catch (error) {
        secret.drop()
        throw error
      }
      return { account, secret }
    },
    async certify(publicKey, of = 'resource') {
      const { account, reference } = boundTo(of)
      if (!reference.startsWith(certificatePrefix)) return undefined
      let certificate: Buffer
      try {
        certificate = await certifySession({ sessionId, grantId, publicKey, of })
      } catch (error) {
        const { code, message } = toSallyportError(error)
        throw new SallyportError('secret-unavailable', `no certificate: ${code}: ${message}`, {
          clientMessage: 'the proxy cannot get a certificate for this session',
          hint: 'try again; tell the operator of the proxy if it lasts, its log says what control answered',
          cause: error,
        })
      }
      // Whoever was cut meanwhile has no use for it.
      throwIfCut()
      return { account, certificate }
    },
  }
}
