import { execFile } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import {
  createPrivateFile,
  readPrivateFile,
  writePrivateFile,
} from '../../../protocols/kit/private-file.ts'
import { loadOrCreateSealingKey, seal, unseal } from '../../../protocols/kit/sealed-file.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-sealed-'))
afterAll(() => rmSync(directory, { recursive: true }))
const at = (name: string): string => join(directory, name)

const key = Buffer.alloc(32, 3)
const sealedInvalid = expect.objectContaining({ code: 'sealed-file-invalid' })
const configInvalid = expect.objectContaining({ code: 'config-invalid' })

describe('sealing', () => {
  test.each([0, 1, 31, 32, 33, 100_000])('%i bytes come back as they were', (length) => {
    const plaintext = Buffer.alloc(length, 0x5a)
    const sealed = seal(key, plaintext, 'test')
    expect(unseal(key, sealed, 'test')).toEqual(plaintext)
    expect(sealed).toHaveLength(length + 5 + 12 + 16)
    if (length >= 31) expect(sealed.includes(plaintext)).toBe(false)
  })

  test('the same twice is not the same', () => {
    const plaintext = Buffer.from('hunter2')
    expect(seal(key, plaintext, 'test')).not.toEqual(seal(key, plaintext, 'test'))
  })

  test('any changed bit, any cut, any other key or label is refused', () => {
    const sealed = seal(key, Buffer.from('hunter2'), 'test')
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Buffer.from(sealed)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      expect(() => unseal(key, changed, 'test'), `bit ${bit}`).toThrow(sealedInvalid)
    }
    for (let length = 0; length < sealed.length; length++) {
      expect(() => unseal(key, sealed.subarray(0, length), 'test')).toThrow(sealedInvalid)
    }
    expect(() => unseal(key, Buffer.concat([sealed, sealed]), 'test')).toThrow(sealedInvalid)
    expect(() => unseal(Buffer.alloc(32, 4), sealed, 'test')).toThrow(sealedInvalid)
    expect(() => unseal(key, sealed, 'other')).toThrow(sealedInvalid)
    expect(() => unseal(key, sealed, '')).toThrow(sealedInvalid)
  })

  test('an error tells nothing of what was sealed', () => {
    const sealed = seal(key, Buffer.from('hunter2'), 'test')
    sealed[sealed.length - 1]! ^= 1
    expect(() => unseal(key, sealed, 'test')).toThrow(/^(?!.*hunter2)/)
  })

  test('a key of another length is a mistake of ours', () => {
    expect(() => seal(Buffer.alloc(16), Buffer.alloc(1), 'test')).toThrow('32 bytes')
    expect(() => unseal(Buffer.alloc(33), Buffer.alloc(99), 'test')).toThrow('32 bytes')
  })
})

describe('a sealing key', () => {
  test('is made once, privately, and found again', () => {
    const made = loadOrCreateSealingKey(at('key'))
    expect(made).toHaveLength(32)
    expect(statSync(at('key')).mode & 0o777).toBe(0o600)
    expect(loadOrCreateSealingKey(at('key'))).toEqual(made)
    expect(loadOrCreateSealingKey(at('other-key'))).not.toEqual(made)
  })

  test('of another length, or readable by others, is refused', () => {
    writeFileSync(at('short'), 'x', { mode: 0o600 })
    expect(() => loadOrCreateSealingKey(at('short'))).toThrow(sealedInvalid)
    loadOrCreateSealingKey(at('open'))
    chmodSync(at('open'), 0o644)
    expect(() => loadOrCreateSealingKey(at('open'))).toThrow(configInvalid)
  })

  test('is the same for processes that start at once', async () => {
    const module = join(import.meta.dirname, '../../../protocols/kit/sealed-file.ts')
    const code = `import { loadOrCreateSealingKey } from ${JSON.stringify(module)}
      console.log(loadOrCreateSealingKey(${JSON.stringify(at('raced'))}).toString('hex'))`
    const run = async (): Promise<string> => {
      const parameters = ['--input-type=module', '--eval', code]
      return (await promisify(execFile)(process.execPath, parameters)).stdout
    }
    const keys = await Promise.all([run(), run(), run()])
    expect(new Set(keys).size).toBe(1)
    expect(keys[0]).toMatch(/^[0-9a-f]{64}\n$/)
  })
})

describe('private files', () => {
  test('are replaced whole and leave nothing behind', () => {
    mkdirSync(at('whole'))
    const path = at('whole/file')
    writePrivateFile(path, 'one')
    writePrivateFile(path, Buffer.from('two'))
    expect(readPrivateFile(path).toString()).toBe('two')
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(at('whole'))).toEqual(['file'])
  })

  test('become private again when written over an open one', () => {
    writeFileSync(at('was-open'), 'x', { mode: 0o644 })
    writePrivateFile(at('was-open'), 'y')
    expect(statSync(at('was-open')).mode & 0o777).toBe(0o600)
  })

  test('are created only where none is', () => {
    mkdirSync(at('once'))
    expect(createPrivateFile(at('once/file'), 'one')).toBe(true)
    expect(createPrivateFile(at('once/file'), 'two')).toBe(false)
    expect(readFileSync(at('once/file'), 'utf8')).toBe('one')
    expect(readdirSync(at('once'))).toEqual(['file'])
  })

  test('that cannot be written leave nothing behind', () => {
    mkdirSync(at('blocked/file'), { recursive: true })
    expect(() => writePrivateFile(at('blocked/file'), 'x')).toThrow()
    expect(readdirSync(at('blocked'))).toEqual(['file'])
    expect(() => writePrivateFile(at('missing/file'), 'x')).toThrow('ENOENT')
  })

  test.each([0o640, 0o604, 0o620, 0o602, 0o660, 0o777])('with mode %o are refused', (mode) => {
    writePrivateFile(at('modes'), 'x')
    chmodSync(at('modes'), mode)
    expect(() => readPrivateFile(at('modes'))).toThrow(configInvalid)
  })

  test('that are missing, a directory or a link to an open file are refused', () => {
    expect(() => readPrivateFile(at('nowhere'))).toThrow(configInvalid)
    expect(() => readPrivateFile(directory)).toThrow(configInvalid)
    writeFileSync(at('target'), 'x', { mode: 0o644 })
    symlinkSync(at('target'), at('link'))
    expect(() => readPrivateFile(at('link'))).toThrow(configInvalid)
  })
})
