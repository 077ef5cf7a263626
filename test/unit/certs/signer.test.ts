import { generateKeyPairSync, verify } from 'node:crypto'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { createKeySigner, keyIdOf } from '../../../certs/key-signer.ts'
import { createSealedSigner, openSealedSigner } from '../../../certs/sealed-signer.ts'
import type { Signer } from '../../../certs/signer.ts'
import { seal } from '../../../protocols/kit/sealed-file.ts'

const sealingKey = Buffer.alloc(32, 7)
const data = Buffer.from('to be signed')
const label = (kid: string): string => `test key ${kid}`
const make = (algorithm: Signer['algorithm']) =>
  createSealedSigner({ sealingKey, algorithm, label })
const sealedInvalid = expect.objectContaining({ code: 'sealed-file-invalid' })

test.each(['ES256', 'EdDSA'] as const)(
  'a sealed %s key signs again once opened',
  async (algorithm) => {
    const { signer, sealed } = make(algorithm)
    const opened = openSealedSigner({ sealed, sealingKey, label: label(signer.kid) })
    expect([opened.kid, opened.algorithm]).toEqual([signer.kid, algorithm])
    expect(opened.kid).toBe(keyIdOf(opened.publicKey))
    const signature = await opened.sign(data)
    expect(signature).toHaveLength(64)
    const key = { key: signer.publicKey, dsaEncoding: 'ieee-p1363' as const }
    const digest = algorithm === 'ES256' ? 'sha256' : null
    expect(verify(digest, data, key, signature)).toBe(true)
    expect(verify(digest, Buffer.from('else'), key, signature)).toBe(false)
  },
)

test('no two keys are the same', () => {
  const kids = Array.from({ length: 5 }, () => make('ES256').signer.kid)
  expect(new Set(kids).size).toBe(5)
})

test('neither the sealed form nor the signer shows the private key', () => {
  const { signer, sealed } = make('ES256')
  // The object identifier of id-ecPublicKey is in any PKCS #8 of such a key.
  expect(sealed.includes(Buffer.from('06072a8648ce3d0201', 'hex'))).toBe(false)
  expect(inspect(signer, { depth: 10, showHidden: true })).not.toContain('PrivateKeyObject')
  expect(Object.keys(signer).sort()).toEqual(['algorithm', 'kid', 'publicKey', 'sign'])
  expect(signer.publicKey.type).toBe('public')
})

test('another sealing key, another label or another content is refused', () => {
  const { signer, sealed } = make('EdDSA')
  const other = make('EdDSA').signer.kid
  const good = { sealed, sealingKey, label: label(signer.kid) }
  expect(() => openSealedSigner({ ...good, sealingKey: Buffer.alloc(32, 8) })).toThrow(
    sealedInvalid,
  )
  expect(() => openSealedSigner({ ...good, label: label(other) })).toThrow(sealedInvalid)
  const secret = seal(sealingKey, Buffer.from('a secret'), 'secret')
  expect(() => openSealedSigner({ ...good, sealed: secret })).toThrow(sealedInvalid)
})

test('keys of other kinds do not sign', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const publicKey = generateKeyPairSync('ed25519').publicKey
  for (const key of [rsa, p384, publicKey]) {
    expect(() => createKeySigner(key)).toThrow(expect.objectContaining({ code: 'config-invalid' }))
  }
})
