import { generateKeyPairSync, verify } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { createKeySigner, keyIdOf } from '../../../certs/key-signer.ts'
import { createSealedSigner, openSealedSigner } from '../../../certs/sealed-signer.ts'
import { seal } from '../../../protocols/kit/sealed-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-signer-'))
afterAll(() => rmSync(directory, { recursive: true }))

const sealingKey = Buffer.alloc(32, 7)
const data = Buffer.from('to be signed')

test.each(['ES256', 'EdDSA'] as const)(
  'a sealed %s key signs again after reopening',
  async (algorithm) => {
    const file = join(directory, algorithm)
    const made = await createSealedSigner({ file, sealingKey, algorithm })
    const opened = await openSealedSigner({ file, sealingKey })
    expect(opened.kid).toBe(made.kid)
    expect(opened.algorithm).toBe(algorithm)
    expect(opened.kid).toBe(keyIdOf(opened.publicKey))
    const signature = await opened.sign(data)
    expect(signature).toHaveLength(64)
    const key = { key: made.publicKey, dsaEncoding: 'ieee-p1363' as const }
    const digest = algorithm === 'ES256' ? 'sha256' : null
    expect(verify(digest, data, key, signature)).toBe(true)
    expect(verify(digest, Buffer.from('else'), key, signature)).toBe(false)
  },
)

test('the file is private, holds no plain key, and is never overwritten', async () => {
  const file = join(directory, 'once')
  await createSealedSigner({ file, sealingKey, algorithm: 'ES256' })
  const before = readFileSync(file)
  expect(statSync(file).mode & 0o777).toBe(0o600)
  // The object identifier of id-ecPublicKey is in any PKCS #8 of such a key.
  expect(before.includes(Buffer.from('06072a8648ce3d0201', 'hex'))).toBe(false)
  await expect(createSealedSigner({ file, sealingKey, algorithm: 'ES256' })).rejects.toMatchObject({
    code: 'conflict',
  })
  expect(readFileSync(file)).toEqual(before)
})

test('a signer shows nothing of its private key', async () => {
  const signer = await createSealedSigner({
    ...{ file: join(directory, 'shown'), sealingKey, algorithm: 'ES256' },
  })
  const shown = inspect(signer, { depth: 10, showHidden: true })
  expect(shown).not.toContain('PrivateKeyObject')
  expect(Object.keys(signer).sort()).toEqual(['algorithm', 'kid', 'publicKey', 'sign'])
  expect(signer.publicKey.type).toBe('public')
})

test('another sealing key, another content or an open file is refused', async () => {
  const file = join(directory, 'refused')
  await createSealedSigner({ file, sealingKey, algorithm: 'EdDSA' })
  await expect(openSealedSigner({ file, sealingKey: Buffer.alloc(32, 8) })).rejects.toMatchObject({
    code: 'sealed-file-invalid',
  })
  const other = join(directory, 'other')
  writeFileSync(other, seal(sealingKey, Buffer.from('a secret'), 'secret'), { mode: 0o600 })
  await expect(openSealedSigner({ file: other, sealingKey })).rejects.toMatchObject({
    code: 'sealed-file-invalid',
  })
  chmodSync(file, 0o640)
  await expect(openSealedSigner({ file, sealingKey })).rejects.toMatchObject({
    code: 'config-invalid',
    hint: expect.stringContaining('chmod 600'),
  })
})

test('keys of other kinds do not sign', () => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const publicKey = generateKeyPairSync('ed25519').publicKey
  for (const key of [rsa, p384, publicKey]) {
    expect(() => createKeySigner(key)).toThrow(expect.objectContaining({ code: 'config-invalid' }))
  }
})
