import * as fastCheck from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteReader } from '../../../protocols/kit/byte-reader.ts'
import { ByteWriter } from '../../../protocols/kit/byte-writer.ts'

const violation = expect.objectContaining({ code: 'protocol-violation' })

describe('what is written is read again', () => {
  type Field =
    | { type: 'u8' | 'u16' | 'u32' | 'u64'; value: number }
    | { type: 'utf8'; value: string }
    | { type: 'copy'; value: Uint8Array }
  const integer = (type: 'u8' | 'u16' | 'u32' | 'u64', max: number) =>
    fastCheck.record({ type: fastCheck.constant(type), value: fastCheck.integer({ min: 0, max }) })
  const field: fastCheck.Arbitrary<Field> = fastCheck.oneof(
    integer('u8', 0xff),
    integer('u16', 0xffff),
    integer('u32', 0xffff_ffff),
    integer('u64', Number.MAX_SAFE_INTEGER),
    fastCheck.record({
      type: fastCheck.constant('utf8' as const),
      value: fastCheck.string({ unit: 'grapheme' }),
    }),
    fastCheck.record({ type: fastCheck.constant('copy' as const), value: fastCheck.uint8Array() }),
  )

  test('whatever the fields, whatever the buffer began with', () => {
    fastCheck.assert(
      fastCheck.property(
        fastCheck.array(field),
        fastCheck.integer({ min: 1, max: 64 }),
        (fields, initialBytes) => {
          const writer = new ByteWriter(initialBytes)
          for (const one of fields) {
            if (one.type === 'utf8') writer.utf8(one.value)
            else if (one.type === 'copy') writer.copy(one.value)
            else writer[one.type](one.value)
          }
          const reader = new ByteReader(Buffer.from(writer.bytes()))
          for (const one of fields) {
            if (one.type === 'utf8') {
              expect(reader.utf8(Buffer.byteLength(one.value))).toBe(one.value)
            } else if (one.type === 'copy') {
              expect(new Uint8Array(reader.bytes(one.value.length))).toEqual(one.value)
            } else expect(reader[one.type]()).toBe(one.value)
          }
          expect(reader.remaining).toBe(0)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('a reader', () => {
  test('reads signed numbers', () => {
    const reader = new ByteReader(Buffer.from('ffff8000ffffffff80000000', 'hex'))
    expect([reader.i16(), reader.i16(), reader.i32(), reader.i32()]).toEqual([
      ...[-1, -32_768, -1, -2_147_483_648],
    ])
  })

  test('never reads past its end, not even into the rest of the buffer', () => {
    const buffer = Buffer.alloc(16)
    const reads: ((reader: ByteReader) => unknown)[] = [
      (reader) => reader.u16(),
      (reader) => reader.i16(),
      (reader) => reader.u32(),
      (reader) => reader.i32(),
      (reader) => reader.u64(),
      (reader) => reader.bytes(2),
      (reader) => reader.utf8(2),
    ]
    for (const read of reads) {
      const reader = new ByteReader(buffer, 4, 5)
      expect(() => read(reader)).toThrow(violation)
      expect(reader.offset).toBe(4)
      expect(reader.u8()).toBe(0)
      expect(() => reader.u8()).toThrow(violation)
    }
  })

  test.each([-1, 2 ** 31, 2 ** 53, Number.NaN])('refuses a length of %d', (length) => {
    expect(() => new ByteReader(Buffer.alloc(8)).bytes(length)).toThrow(violation)
  })

  test('refuses integers that a number cannot hold', () => {
    const above = Buffer.from('0020000000000000', 'hex')
    expect(() => new ByteReader(above).u64()).toThrow(violation)
    const most = Buffer.from('001fffffffffffff', 'hex')
    expect(new ByteReader(most).u64()).toBe(Number.MAX_SAFE_INTEGER)
  })

  test('takes strings up to their zero byte, which must be its own', () => {
    const buffer = Buffer.from('abc\0déf\0x')
    const reader = new ByteReader(buffer)
    expect([reader.cString(), reader.cString()]).toEqual(['abc', 'déf'])
    expect(() => reader.cString()).toThrow(violation)
    expect(() => new ByteReader(buffer, 0, 3).cString()).toThrow(violation)
  })
})

describe('a writer', () => {
  test('grows, fills in afterwards, goes back, and starts again', () => {
    const writer = new ByteWriter(4)
    const at = writer.reserve(4)
    writer.utf8('hello')
    writer.putU32(at, 5)
    expect(writer.bytes().toString('hex')).toBe('0000000568656c6c6f')
    expect(writer.bytes(4).toString()).toBe('hello')
    writer.truncate(6)
    expect(writer.bytes().toString('hex')).toBe('000000056865')
    writer.reset()
    expect(writer.length).toBe(0)
    expect(writer.bytes()).toHaveLength(0)
  })

  test('copies a part of any bytes', () => {
    const writer = new ByteWriter(1)
    writer.copy(Buffer.from('abcdef'), 1, 3)
    writer.copy(new Uint8Array([0x78, 0x79, 0x7a]), 2)
    expect(writer.bytes().toString()).toBe('bcz')
  })
})
