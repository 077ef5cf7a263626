/** Proves to a server who the proxy comes as (RFC 4252 from the client's side): a certificate, a key, or a password. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
} from 'node:crypto'
import { ByteReader } from '../../kit/byte-reader.ts'
import { SallyportError } from '../../kit/errors.ts'
import { encodeSshPublicKey } from '../../kit/ssh-public-key.ts'
import { readSshString, readSshText, sshInteger, sshString, sshU32 } from '../../kit/ssh-wire.ts'
import type { Session } from '../../session.ts'
import { message, messages, sshBoolean } from '../wire.ts'
import { parsePrivateKey } from '../wire/library.ts'
import type { Transport } from '../wire/transport.ts'

/** What a login is made of. `drop` forgets it. */
export interface SignIn {
  readonly account: string
  /** Messages to send, the first that is taken wins. */
  requests(transport: Transport): Buffer[]
  /** Answers to what the server asks interactively (RFC 4256). */
  answer?(payload: Buffer): Buffer
  drop(): void
}

/** A certificate where the resource's secret is one, else what the store holds. */
export async function prepareSignIn(session: Session, of: 'resource' | 'bastion'): Promise<SignIn> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const certified = await session.certify(encodeSshPublicKey(publicKey), of)
  if (certified !== undefined) {
    const { account, certificate } = certified
    return signInByKey(account, privateKey, certificate)
  }
  const { account, secret } = await session.borrow(of)
  const text = secret.reveal()
  try {
    if (!text.includes('-----BEGIN ')) {
      return signInByPassword(account, text, () => secret.drop())
    }
    return signInByKey(account, readPrivateKey(text), undefined)
  } finally {
    // A key is parsed by now; a password is needed until the login is done.
    if (text.includes('-----BEGIN ')) secret.drop()
  }
}

function signInByKey(
  account: string,
  privateKey: KeyObject,
  certificate: Buffer | undefined,
): SignIn {
  let key: KeyObject | undefined = privateKey
  return {
    account,
    requests(transport) {
      if (key === undefined) throw new Error('the key was dropped')
      const blob = certificate ?? encodeSshPublicKey(createPublicKey(key))
      const type = readSshText(new ByteReader(blob), 64)
      const held = key
      return algorithmsFor(type).map(([named, plain]) => {
        const body = message(
          messages.userauthRequest,
          ...[sshString(account), sshString('ssh-connection'), sshString('publickey')],
          ...[sshBoolean(true), sshString(named), sshString(blob)],
        )
        const signed = Buffer.concat([sshString(transport.sessionId), body])
        const value = signWith(held, plain, signed)
        const signature = Buffer.concat([sshString(plain), sshString(value)])
        return Buffer.concat([body, sshString(signature)])
      })
    },
    drop() {
      key = undefined
    },
  }
}

function signInByPassword(account: string, password: string, drop: () => void): SignIn {
  const request = (method: string, ...fields: Buffer[]): Buffer =>
    message(
      messages.userauthRequest,
      ...[sshString(account), sshString('ssh-connection'), sshString(method)],
      ...fields,
    )
  let held = password
  return {
    account,
    requests: () => [
      request('password', sshBoolean(false), sshString(held)),
      // Some servers ask for the same password this way only.
      request('keyboard-interactive', sshString(''), sshString('')),
    ],
    answer(payload) {
      const reader = new ByteReader(payload, 1)
      for (let field = 0; field < 3; field++) readSshString(reader, 4_096)
      const prompts = reader.u32()
      if (prompts > 1) throw loginFailed('the server asks for more than a password')
      const answers = prompts === 0 ? [] : [sshString(held)]
      return message(messages.userauthInfoResponse, sshU32(prompts), ...answers)
    },
    drop() {
      held = ''
      drop()
    },
  }
}

/** The algorithm of the request and the plain one of its signature. RSA signs with SHA-2. */
function algorithmsFor(type: string): [string, string][] {
  const suffix = '-cert-v01@openssh.com'
  const isCertificate = type.endsWith(suffix)
  const base = isCertificate ? type.slice(0, -suffix.length) : type
  const plain = base === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [base]
  return plain.map((name) => [isCertificate ? `${name}${suffix}` : name, name])
}

function signWith(key: KeyObject, algorithm: string, data: Buffer): Buffer {
  switch (algorithm) {
    case 'ssh-ed25519':
      return sign(null, data, key)
    case 'rsa-sha2-512':
      return sign('sha512', data, key)
    case 'rsa-sha2-256':
      return sign('sha256', data, key)
    default: {
      const hash = { '256': 'sha256', '384': 'sha384', '521': 'sha512' }[algorithm.slice(-3)]
      if (hash === undefined) throw loginFailed(`keys of ${algorithm} are not taken`)
      const value = sign(hash, data, { key, dsaEncoding: 'ieee-p1363' })
      const half = value.length / 2
      return Buffer.concat([sshInteger(value.subarray(0, half)), sshInteger(value.subarray(half))])
    }
  }
}

/** OpenSSH's own form, which Node does not read, or PEM. */
function readPrivateKey(text: string): KeyObject {
  const parsed = parsePrivateKey(text)
  const pem = parsed?.getPrivatePEM()
  if (pem === undefined || pem === null) {
    throw new SallyportError(
      'secret-unavailable',
      'the secret is no private key without a passphrase',
      {
        clientMessage: 'the resource has a key that cannot be read',
        hint: 'Tell the operator: the secret must be a private key without a passphrase.',
      },
    )
  }
  return createPrivateKey(pem)
}

function loginFailed(why: string): SallyportError {
  return new SallyportError('upstream-login', why, {
    clientMessage: 'the resource did not take the login of the proxy',
    hint: 'Tell the operator; the cause is in the log.',
  })
}
