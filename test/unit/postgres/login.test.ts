import { describe, expect, test } from 'vitest'
import { defaultLimits } from '../../../protocols/kit/limits.ts'
import { errorCodes, SallyportError } from '../../../protocols/kit/errors.ts'
import { nameResource } from '../../../protocols/postgres/downstream/route.ts'
import { decodeBinary } from '../../../protocols/postgres/observe/values.ts'
import { saslPrepare, startScram } from '../../../protocols/postgres/upstream/scram.ts'
import { refusedLogin } from '../../../protocols/postgres/upstream/refused.ts'
import {
  fatalResponse,
  noticeResponse,
  readErrorResponse,
} from '../../../protocols/postgres/wire/error-response.ts'
import {
  readStartupPacket,
  startupPacket,
  startupPacketBytes,
} from '../../../protocols/postgres/wire/startup.ts'
import { server } from './messages.ts'

describe('SCRAM-SHA-256', () => {
  // RFC 7677, section 3; there the account is in the message, here the server knows it already.
  const nonce = 'rOprNGfwEbeRWgbNEkqO'
  const first = `r=${nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`

  test('a round, and the proof of the server', async () => {
    const exchange = startScram({ kind: 'none' }, nonce)
    expect(exchange).toMatchObject({ mechanism: 'SCRAM-SHA-256', clientFirst: `n,,n=,r=${nonce}` })
    const answer = await exchange.respond(first, 'pencil')
    expect(answer).toMatch(/^c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj\)hNlF\$k0,p=/)
    expect(() => exchange.verify('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).toThrow(
      expect.objectContaining({ code: 'upstream-login' }),
    )
    expect(() => exchange.verify('e=other-error')).toThrow('could not prove')
  })

  test.each([
    ['a nonce that is not ours', first.replace('rOpr', 'xxxx')],
    ['no more than our nonce', `r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ['too few iterations', first.replace('4096', '1')],
    ['iterations without end', first.replace('4096', '99999999')],
    ['an extension that must be understood', `m=x,${first}`],
    ['nonsense', 'hello'],
  ])('refused: %s', async (_name, message) => {
    await expect(startScram({ kind: 'none' }, nonce).respond(message, 'pencil')).rejects.toThrow(
      expect.objectContaining({ code: 'upstream-login' }),
    )
  })

  test('channel binding', () => {
    expect(startScram({ kind: 'tls-server-end-point', hash: Buffer.alloc(32) }, 'n')).toMatchObject(
      {
        mechanism: 'SCRAM-SHA-256-PLUS',
        clientFirst: 'p=tls-server-end-point,,n=,r=n',
      },
    )
    expect(startScram({ kind: 'not-offered' }, 'n').clientFirst).toBe('y,,n=,r=n')
  })

  test('SASLprep', () => {
    expect(saslPrepare('plain')).toBe('plain')
    expect(saslPrepare('I\u00adX\u00a0\u2168')).toBe('IX IX')
  })
})

describe('start-up packets', () => {
  test('come back as they were written', () => {
    const parameters = new Map([
      ['user', 'me'],
      ['options', '-c a=b'],
    ])
    const packet = startupPacket(parameters)
    expect(startupPacketBytes(packet.subarray(0, 3), 10_000)).toBeUndefined()
    expect(startupPacketBytes(packet, 10_000)).toBe(packet.length)
    expect(readStartupPacket(packet)).toEqual({ kind: 'startup', minorVersion: 0, parameters })
  })

  test.each([0, 3, 7, 10_001, 0x7fff_ffff, 0xffff_ffff])('length %i is refused', (length) => {
    const head = Buffer.alloc(8)
    head.writeUInt32BE(length)
    expect(() => startupPacketBytes(head, 10_000)).toThrow('start-up packet')
  })

  const packet = (code: number, body: string) => {
    const bytes = Buffer.concat([Buffer.alloc(8), Buffer.from(body)])
    bytes.writeUInt32BE(bytes.length, 0)
    bytes.writeUInt32BE(code, 4)
    return bytes
  }
  test.each([
    ['protocol 2', packet(2 << 16, '')],
    ['protocol 4', packet(4 << 16, '')],
    ['no end', packet(3 << 16, 'user\0me\0')],
    ['bytes behind', packet(3 << 16, 'user\0me\0\0x')],
    ['a name without value', packet(3 << 16, 'user\0')],
    ['SSLRequest with a body', packet(80_877_103, 'x')],
    ['a short cancel', packet(80_877_102, '1234')],
  ])('refused: %s', (_name, bytes) => {
    expect(() => readStartupPacket(bytes)).toThrow(SallyportError)
  })
})

test('names', () => {
  const domain = 'access.example.com'
  const to = (serverName: string | undefined, user: string) =>
    nameResource(serverName, user, domain)
  expect(to(`orders.${domain}`, 'me')).toEqual({ resource: 'orders', wanted: '' })
  expect(to(`Orders.${domain}`, 'read~orders')).toEqual({ resource: 'orders', wanted: 'read' })
  expect(to(undefined, 'a~b~orders')).toEqual({ resource: 'orders', wanted: 'a~b' })
  expect(() => to(`orders.${domain}`, 'x~other')).toThrow(
    expect.objectContaining({ code: 'name-conflict' }),
  )
  expect(() => to(domain, 'me')).toThrow(expect.objectContaining({ code: 'name-missing' }))
  expect(() => to(`orders.other.com`, 'me')).toThrow()
})

test('every error has words, a state and no more than it may say', () => {
  for (const code of errorCodes) {
    const error = new SallyportError(code, 'for the operator only', { hint: 'do this' })
    const bytes = fatalResponse(error)
    const read = readErrorResponse(bytes.subarray(5))
    expect(read.severity).toBe('FATAL')
    expect(read.code).toMatch(/^[0-9A-Z]{5}$/)
    expect(bytes.toString()).not.toContain('operator')
    expect(bytes.toString()).toContain('Hdo this')
  }
  expect(noticeResponse('a\0b').toString()).toContain('Ma b')
  expect(readErrorResponse(Buffer.from('C42601\0Mcut sho'))).toMatchObject({ message: 'cut sho' })
})

test('a refused login never names the account', () => {
  const error = refusedLogin(server.error('28P01', 'password authentication failed for user "app"'))
  expect(error.clientMessage).not.toContain('app')
  expect(error.message).toContain('app')
  expect(refusedLogin(server.error('3D000', 'database "app"')).clientMessage).not.toContain('app')
})

test('limits are named in one place', () => {
  expect(defaultLimits.startupBytesMax).toBeLessThanOrEqual(10_000)
})

describe('binary values', () => {
  const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
  // As PostgreSQL 18 sends them (copy … with (format binary)).
  test.each([
    [16, '01', 't'],
    [21, 'fffe', '-2'],
    [23, '00000007', '7'],
    [20, '7fffffffffffffff', '9223372036854775807'],
    [26, 'ffffffff', '4294967295'],
    [700, '3dcccccd', '0.1'],
    [701, '3fb999999999999a', '0.1'],
    [701, '7ff0000000000000', 'Infinity'],
    [2950, '00112233445566778899aabbccddeeff', '00112233-4455-6677-8899-aabbccddeeff'],
    [1082, '00000000', '2000-01-01'],
    [1082, 'ffffffff', '1999-12-31'],
    [1082, '7fffffff', 'infinity'],
    [1114, '0000000000000001', '2000-01-01 00:00:00.000001'],
    [1114, 'ffffffffffffffff', '1999-12-31 23:59:59.999999'],
    [1184, '0002b583416e1d20', '2024-02-29 12:34:56.5+00'],
    [3802, '017b7d', '{}'],
    [1700, '0003 0001 0000 0002 0001 0929 1a2c', '12345.67'],
    [1700, '0001 ffff 4000 0003 04d2', '-0.123'],
    [1700, '0000 0000 0000 0000', '0'],
    [1700, '0000 0000 c000 0000', 'NaN'],
    [1700, '0001 0002 0000 0000 0001', '100000000'],
  ])('%i %s is %s', (oid, bytes, expected) => {
    expect(decodeBinary(oid, hex(bytes))).toBe(expected)
  })

  test.each([
    [23, '01'],
    [1700, '00'],
    [1700, '0005 0000 0000 0000 0001'],
    [3802, '027b7d'],
    [17, '00ff'],
    [999_999, '00'],
  ])('%i %s stays binary', (oid, bytes) => {
    expect(decodeBinary(oid, hex(bytes))).toBeUndefined()
  })

  test('hostile numerics stay small', () => {
    expect(decodeBinary(1700, hex('0001 7fff 0000 0000 0001'))).toBeUndefined()
  })
})
