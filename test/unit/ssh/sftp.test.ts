import * as fc from 'fast-check'
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { observeSftp } from '../../../protocols/ssh/observe/sftp.ts'
import { createTestClock } from '../../test-clock.ts'
import { createSink } from './observe-world.ts'

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const u64 = (value: number): Buffer => Buffer.concat([u32(0), u32(value)])
const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([u32(bytes.length), bytes])
}
const packet = (type: number, ...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  return Buffer.concat([u32(body.length + 1), Buffer.from([type]), body])
}
const client = {
  init: packet(1, u32(3)),
  open: (id: number, path: string, flags: number) =>
    packet(3, u32(id), text(path), u32(flags), u32(0)),
  close: (id: number, handle: string) => packet(4, u32(id), text(handle)),
  read: (id: number, handle: string, offset: number, length: number) =>
    packet(5, u32(id), text(handle), u64(offset), u32(length)),
  write: (id: number, handle: string, offset: number, data: Buffer) =>
    packet(6, u32(id), text(handle), u64(offset), text(data)),
  stat: (id: number, path: string) => packet(17, u32(id), text(path)),
  path: (type: number, id: number, path: string) => packet(type, u32(id), text(path), u32(0)),
  two: (type: number, id: number, from: string, to: string) =>
    packet(type, u32(id), text(from), text(to)),
  extended: (id: number, name: string, ...parts: string[]) =>
    packet(200, u32(id), text(name), ...parts.map((part) => text(part))),
  fsetstat: (id: number, handle: string) => packet(10, u32(id), text(handle), u32(0)),
}
const server = {
  version: packet(2, u32(3)),
  status: (id: number, code: number, message = '') =>
    packet(101, u32(id), u32(code), text(message), text('')),
  handle: (id: number, handle: string) => packet(102, u32(id), text(handle)),
  data: (id: number, data: Buffer) => packet(103, u32(id), text(data)),
  attrs: (id: number) => packet(105, u32(id), u32(0)),
  name: (id: number) => packet(104, u32(id), u32(0)),
}
type Step = readonly ['up' | 'down', Buffer]

function watch(steps: readonly Step[], cut: (bytes: Buffer) => Buffer[] = (bytes) => [bytes]) {
  const sink = createSink()
  const observer = observeSftp(sink, createTestClock(), 7)
  for (const [way, bytes] of steps) {
    for (const piece of cut(bytes)) {
      if (way === 'up') observer.fromClient(piece)
      else observer.fromUpstream(piece)
    }
  }
  return { sink, observer }
}
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const data = Buffer.from(Array.from({ length: 70_000 }, (_, index) => index % 251))

/** An upload, a download, a listing, and what else changes something. */
const whole: readonly Step[] = [
  ['up', client.init],
  ['down', server.version],
  ['up', client.stat(1, '/etc')],
  ['down', server.attrs(1)],
  ['up', client.open(2, '/srv/new', 2 | 8 | 16)],
  ['down', server.handle(2, 'h0')],
  ['up', client.write(3, 'h0', 0, data.subarray(0, 32_768))],
  ['up', client.write(4, 'h0', 32_768, data.subarray(32_768))],
  ['down', server.status(3, 0)],
  ['down', server.status(4, 0)],
  ['up', client.fsetstat(5, 'h0')],
  ['down', server.status(5, 0)],
  ['up', client.close(6, 'h0')],
  ['down', server.status(6, 0)],
  ['up', client.open(7, '/srv/old', 1)],
  ['down', server.handle(7, 'h1')],
  ['up', client.read(8, 'h1', 0, 32_768)],
  ['up', client.read(9, 'h1', 32_768, 32_768)],
  ['down', server.data(8, data.subarray(0, 32_768))],
  ['down', server.data(9, data.subarray(32_768, 40_000))],
  ['up', client.read(10, 'h1', 40_000, 32_768)],
  ['down', server.status(10, 1, 'EOF')],
  ['up', client.close(11, 'h1')],
  ['down', server.status(11, 0)],
  ['up', client.path(11, 12, '/srv')],
  ['down', server.handle(12, 'h0')],
  ['up', client.path(13, 13, '/srv/gone')],
  ['down', server.status(13, 2, 'No such file')],
  ['up', client.extended(14, 'posix-rename@openssh.com', '/a', '/b')],
  ['down', server.status(14, 0)],
  ['up', client.two(20, 15, 'points-to', '/link')],
  ['down', server.status(15, 0)],
  ['up', client.extended(16, 'made-up@example.com', 'x')],
  ['down', server.status(16, 8, 'unsupported')],
  ['up', client.extended(17, 'limits@openssh.com')],
  ['down', packet(201, u32(17), u64(1))],
  ['up', client.path(19, 18, '/link')],
  ['down', server.name(18)],
]
const lines = [
  'write /srv/new (create, truncate): ok',
  'set-attributes /srv/new: ok',
  'read /srv/old: ok',
  'list /srv: ok',
  'remove /srv/gone: error',
  'rename /a to /b: ok',
  'symbolic-link /link to points-to: ok',
  'other made-up@example.com: error',
  'read-link /link: ok',
]

describe('SFTP', () => {
  test('who changed and read what, how much, with its digest', () => {
    const { sink } = watch(whole)
    expect(sink.lines).toEqual(lines)
    expect(sink.seen[0]!.outcomes[0]).toMatchObject({
      up: 70_000,
      down: 0,
      tag: `sha256 ${sha256(data)}`,
    })
    expect(sink.seen[2]!.outcomes[0]).toMatchObject({
      up: 0,
      down: 40_000,
      tag: `sha256 ${sha256(data.subarray(0, 40_000))}`,
    })
    expect(sink.seen[4]!.outcomes[0]).toMatchObject({ code: 'SSH_FX_2', text: 'No such file' })
    expect(sink.seen[0]).toMatchObject({ path: '/srv/new', operation: 'write', channel: '7' })
  })

  test('the record is made before the last byte of the request passes, in whatever chunks it comes', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.integer({ min: 1, max: 9_000 })), (sizes) => {
        const cut = (bytes: Buffer): Buffer[] => {
          const pieces: Buffer[] = []
          for (let at = 0; at < bytes.length;) {
            const size = sizes.next().value
            pieces.push(bytes.subarray(at, at + size))
            at += size
          }
          return pieces
        }
        const { sink } = watch(whole, cut)
        expect(sink.lines).toEqual(lines)
        expect(sink.seen[0]!.outcomes[0]!.tag).toBe(`sha256 ${sha256(data)}`)
      }),
      { numRuns: 40 },
    )
  })

  test('a transfer out of order has no digest, and one that goes on says from where', () => {
    const { sink } = watch([
      ['up', client.open(1, '/x', 2)],
      ['down', server.handle(1, 'h')],
      ['up', client.write(2, 'h', 10, Buffer.from('later'))],
      ['up', client.write(3, 'h', 0, Buffer.from('sooner'))],
      ['up', client.close(4, 'h')],
      ['down', server.status(4, 0)],
      ['up', client.open(5, '/y', 2)],
      ['down', server.handle(5, 'h')],
      ['up', client.write(6, 'h', 100, Buffer.from('rest'))],
      ['up', client.close(7, 'h')],
      ['down', server.status(7, 4, 'disk full')],
    ])
    expect(sink.seen.map(({ outcomes }) => outcomes[0]!.tag)).toEqual([
      'written out of order: no digest',
      `from byte 100 on: sha256 ${sha256(Buffer.from('rest'))}`,
    ])
    expect(sink.lines[1]).toBe('write /y: error')
  })

  test('what is open when the channel ends has an outcome too, and only one', () => {
    const { sink, observer } = watch([
      ['up', client.open(1, '/x', 2)],
      ['down', server.handle(1, 'h')],
      ['up', client.write(2, 'h', 0, Buffer.from('half'))],
      ['up', client.path(13, 3, '/gone')],
      ['up', client.open(4, '/z', 1)],
    ])
    observer.end()
    observer.end()
    expect(sink.lines).toEqual([
      'write /x: cancelled',
      'remove /gone: cancelled',
      'read /z: cancelled',
    ])
    expect(sink.seen[0]!.outcomes[0]!.up).toBe(4)
  })

  test.each([
    ['a packet longer than any', [u32(300_000), Buffer.from('x')]],
    ['an empty packet', [u32(0), Buffer.from('x')]],
    ['a path longer than its packet', [packet(3, u32(1), u32(9_999))]],
    ['a handle longer than any', [client.close(1, 'h'.repeat(257))]],
    ['an offset beyond all', [packet(5, u32(1), text('h'), Buffer.alloc(8, 0xff), u32(1))]],
    ['more data than the packet has', [packet(6, u32(1), text('h'), u64(0), u32(50))]],
    ['one id twice', [client.stat(1, '/a'), client.open(1, '/b', 1)]],
    ['an SSH banner', [Buffer.from('SSH-2.0-OpenSSH_9.2\r\n')]],
  ])('%s ends it, with words', (_name, packets) => {
    const run = () => watch(packets.map((bytes) => ['up', bytes] as const))
    expect(run).toThrow(SallyportError)
    expect(run).toThrow(/SFTP/)
  })

  test('whatever bytes come, only a violation is thrown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(3), (noise, type) => {
        const body = Buffer.from(noise)
        const steps: Step[] = [
          ['up', client.open(1, '/x', 2)],
          ['down', server.handle(1, 'h')],
          ['up', packet([3, 6, 200, 18][type]!, body)],
          ['down', packet([101, 102, 103, 104][type]!, body)],
          ['up', body],
        ]
        try {
          watch(steps).observer.end()
        } catch (error) {
          expect(error).toMatchObject({ code: 'protocol-violation' })
        }
      }),
      { numRuns: 500 },
    )
  })
})
