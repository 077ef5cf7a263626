import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { verifySshKeyProof } from '../../../certs/verify-ssh-key-proof.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import {
  encodeSshPublicKey,
  parseSshPublicKey,
  parseSshPublicKeyLine,
  sshFingerprint,
  sshKeyTypes,
} from '../../../protocols/kit/ssh-public-key.ts'
import { unwrapSshSignature, verifySshSignature } from '../../../protocols/kit/ssh-signature.ts'
import { sshInteger, sshString } from '../../../protocols/kit/ssh-wire.ts'
import { createSshKey } from '../../fakes/ssh-keys.ts'
import { expectOnlyRefusals, everyDamage } from './ssh-damage.ts'

const data = Buffer.from('session identifier and request')

describe.each(sshKeyTypes)('%s', (type) => {
  const key = createSshKey(type)
  const publicKey = parseSshPublicKey(key.publicKey)

  test('is read back as what it was', () => {
    expect(publicKey.type).toBe(type)
    expect(publicKey.blob).toEqual(key.publicKey)
    expect(parseSshPublicKeyLine(`${key.line} someone@somewhere`).blob).toEqual(key.publicKey)
    expect(sshFingerprint(key.publicKey)).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/)
  })

  test('its signature is taken, and no other', () => {
    const given = key.sign(data)
    expect(verifySshSignature({ publicKey, ...given, signed: data })).toBe(true)
    expect(verifySshSignature({ publicKey, ...given, signed: Buffer.from('else') })).toBe(false)
    const other = parseSshPublicKey(createSshKey(type).publicKey)
    expect(verifySshSignature({ publicKey: other, ...given, signed: data })).toBe(false)
    for (const algorithm of ['', 'ssh-rsa', 'ssh-dss', 'none', '__proto__', `${type} `]) {
      expect(verifySshSignature({ publicKey, ...given, algorithm, signed: data })).toBe(false)
    }
    for (const signature of everyDamage(
      given.signature,
      type.includes('p384') || type.includes('p521') ? 13 : 1,
    )) {
      expect(verifySshSignature({ publicKey, ...given, signature, signed: data })).toBe(false)
    }
    expect(unwrapSshSignature(key.wrap(data)).algorithm).toBe(given.algorithm)
  })

  test('damaged, it is refused or is another key, and nothing else happens', () => {
    expectOnlyRefusals(everyDamage(key.publicKey), (blob) => {
      expect(parseSshPublicKey(blob).blob.equals(key.publicKey)).toBe(false)
    })
  })
})

describe('RSA', () => {
  test('SHA-1 is refused, although the signature is good', () => {
    const key = createSshKey('ssh-rsa')
    const publicKey = parseSshPublicKey(key.publicKey)
    for (const [algorithm, good] of [
      ...[['ssh-rsa', false] as const, ['rsa-sha2-256', true] as const],
      ['rsa-sha2-512', true] as const,
    ]) {
      const given = key.sign(data, { algorithm })
      expect(verifySshSignature({ publicKey, ...given, signed: data })).toBe(good)
    }
  })

  test('below 2048 bits is refused', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2047 })
    expect(() => parseSshPublicKey(encodeSshPublicKey(publicKey))).toThrow('RSA of 2047 bits')
  })

  test('a signature without its leading zeros is taken', () => {
    const key = createSshKey('ssh-rsa')
    const publicKey = parseSshPublicKey(key.publicKey)
    for (let tries = 0; tries < 5_000; tries++) {
      const signed = randomBytes(16)
      const signature = sign('sha256', signed, key.privateKey)
      if (signature[0] !== 0) continue
      const given = { algorithm: 'rsa-sha2-256', signature: signature.subarray(1), signed }
      expect(verifySshSignature({ publicKey, ...given })).toBe(true)
      return
    }
  })
})

describe.each(['sk-ssh-ed25519@openssh.com', 'sk-ecdsa-sha2-nistp256@openssh.com'] as const)(
  '%s',
  (type) => {
    const key = createSshKey(type)
    const publicKey = parseSshPublicKey(key.publicKey)

    test('a signature that nobody touched the key for is refused', () => {
      const isGood = (flags: number) =>
        verifySshSignature({ publicKey, ...key.sign(data, { flags }), signed: data })
      expect([0x00, 0x04, 0x01, 0x05].map(isGood)).toEqual([false, false, true, true])
    })

    test('its wrapping needs flags and counter', () => {
      const wrapped = key.wrap(data)
      expect(unwrapSshSignature(wrapped)).toEqual(
        key.sign(data).algorithm === type && {
          algorithm: type,
          signature: expect.any(Buffer) as Buffer,
        },
      )
      expect(() => unwrapSshSignature(wrapped.subarray(0, -1))).toThrow(SallyportError)
      expect(() => unwrapSshSignature(Buffer.concat([wrapped, Buffer.of(0)]))).toThrow(
        SallyportError,
      )
    })
  },
)

describe('what is no key', () => {
  const p256 = createSshKey('ecdsa-sha2-nistp256').publicKey
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['DSA', sshString('ssh-dss')],
    ['a length of 4 GiB', Buffer.from('ffffffff', 'hex')],
    ['bytes after the key', Buffer.concat([createSshKey().publicKey, Buffer.of(0)])],
    ['a short Ed25519 key', Buffer.concat([sshString('ssh-ed25519'), sshString('short')])],
    [
      'a point that is not on the curve',
      Buffer.concat([p256.subarray(0, -64), Buffer.alloc(64, 7)]),
    ],
    [
      'a point in the short form',
      Buffer.concat([
        p256.subarray(0, -69),
        sshString(Buffer.concat([Buffer.of(2), Buffer.alloc(32, 1)])),
      ]),
    ],
    [
      'an even modulus',
      Buffer.concat([
        sshString('ssh-rsa'),
        sshInteger(Buffer.of(1, 0, 1)),
        sshInteger(Buffer.alloc(256, 0xfe)),
      ]),
    ],
    [
      'the exponent 1',
      Buffer.concat([
        sshString('ssh-rsa'),
        sshInteger(Buffer.of(1)),
        sshInteger(Buffer.alloc(256, 0xff)),
      ]),
    ],
    [
      'a negative modulus',
      Buffer.concat([
        sshString('ssh-rsa'),
        sshInteger(Buffer.of(1, 0, 1)),
        sshString(Buffer.alloc(256, 0xff)),
      ]),
    ],
    ['64 kB', Buffer.alloc(65_536)],
  ])('%s is refused', (_, blob) => {
    expect(() => parseSshPublicKey(blob)).toThrow(
      expect.objectContaining({ code: 'protocol-violation' }) as Error,
    )
  })

  test.each([
    '',
    'ssh-ed25519',
    `ssh-rsa ${createSshKey().publicKey.toString('base64')}`,
    `no-pty ${createSshKey().line}`,
    `${createSshKey().line}\n${createSshKey().line}`,
  ])('the line %j is refused', (line) => {
    expect(() => parseSshPublicKeyLine(line)).toThrow(SallyportError)
  })
})

describe('proof of a key', () => {
  const key = createSshKey('sk-ssh-ed25519@openssh.com')
  const publicKey = parseSshPublicKey(key.publicKey)
  const asked = { publicKey, text: 'mine', namespace: 'test' }

  test('is for one text, one purpose and one key', () => {
    const proof = key.prove('mine', 'test')
    verifySshKeyProof({ ...asked, proof })
    const wrong = [
      { ...asked, proof, text: 'yours' },
      { ...asked, proof, namespace: 'file' },
      { ...asked, proof, publicKey: parseSshPublicKey(createSshKey(key.type).publicKey) },
      { ...asked, proof: '' },
      { ...asked, proof: proof.replace('BEGIN', 'BEGUN') },
      { ...asked, proof: proof.slice(0, 100) + proof.slice(140) },
    ]
    for (const options of wrong) {
      expect(() => verifySshKeyProof(options)).toThrow(
        expect.objectContaining({ code: 'request-invalid' }) as Error,
      )
    }
  })
})
