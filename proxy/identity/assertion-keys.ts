/**
 * The key with which this proxy says who somebody is, for apps to verify. A key of its own: what is signed with it is no certificate, grant or
 * checkpoint. Control publishes its public half for two days, so it is registered again each day.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isP256 } from '../../certs/key-signer.ts'
import type { ApiClient } from '../../control/api/client.ts'
import { assertionKey, assertionKeyId, type AssertionKey } from '../../control/api/http.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createPrivateFile, readPrivateFile } from '../../protocols/kit/private-file.ts'

export interface AssertionSigner {
  /** The key's thumbprint (RFC 7638). */
  readonly kid: string
  /** ES256: `r | s` (RFC 7518, 3.4). */
  sign(data: Buffer): Buffer
}

export interface AssertionKeys extends AssertionSigner {
  readonly publicKey: AssertionKey
}

/** Loads the key (P-256, PKCS #8, mode 0600), which is made at the first start. Throws `config-invalid`. */
export function loadAssertionKeys(dataDir: string): AssertionKeys {
  const path = join(dataDir, 'assertion.key')
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    createPrivateFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  }
  const key = readKey(path)
  const publicKey = assertionKey.parse(createPublicKey(key).export({ format: 'jwk' }))
  return {
    publicKey,
    kid: assertionKeyId(publicKey),
    sign: (data) => sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' }),
  }
}

function readKey(path: string) {
  const pem = readPrivateFile(path)
  try {
    const key = createPrivateKey(pem)
    if (isP256(key)) return key
  } catch {
    // Said below: what is in the file is for nobody's eyes.
  }
  const message = `${path} is no P-256 private key`
  throw new SallyportError('config-invalid', message, {
    clientMessage: message,
    hint: 'move it away: a new one is made at the next start, and published',
  })
}

const dayMs = 86_400_000
const retryMs = 30_000

export interface RegisterOptions {
  readonly publicKey: AssertionKey
  readonly api: () => Pick<ApiClient, 'call'>
  readonly clock: Clock
  readonly log: Log
}

/** Has control publish the key, now and each day. A control that does not answer is asked again; nobody waits for it. Returns how to stop. */
export function keepRegistered({ publicKey, api, clock, log }: RegisterOptions): () => void {
  let timer: Timer | undefined
  let isStopped = false
  const again = (delayMs: number): void => {
    if (!isStopped) timer = clock.startTimer(delayMs, register)
  }
  const register = (): void => {
    api()
      .call('proxyAssertionKey', { body: publicKey })
      .then(
        () => again(dayMs),
        (error: unknown) => {
          log.warn(
            { error: String(error) },
            'apps cannot verify who asks: the key is not published',
          )
          again(retryMs)
        },
      )
  }
  register()
  return () => {
    isStopped = true
    timer?.cancel()
  }
}
