import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { observeScp, scpDirection } from '../../../protocols/ssh/observe/scp.ts'
import { createTestClock } from '../../test-clock.ts'
import { createSink } from './observe-world.ts'

type Step = readonly ['up' | 'down', string]
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

function watch(
  direction: 'to-upstream' | 'from-upstream',
  steps: readonly Step[],
  pieceBytes = 1_000,
) {
  const sink = createSink()
  const clock = createTestClock()
  const observer = observeScp(sink, clock, { channel: 3, direction, path: '/srv/' })
  for (const [way, text] of steps) {
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.subarray(at, at + pieceBytes)
      if (way === 'up') observer.fromClient(piece)
      else observer.fromUpstream(piece)
    }
  }
  return { sink, observer }
}

const upload: readonly Step[] = [
  ['down', '\0'],
  ['up', 'T1 0 1 0\n'],
  ['down', '\0'],
  ['up', 'C0644 5 a\n'],
  ['down', '\0'],
  ['up', 'hello\0'],
  ['down', '\0'],
  ['up', 'D0755 0 deep\n'],
  ['down', '\0'],
  ['up', 'C0644 0 empty\n'],
  ['down', '\0'],
  ['up', '\0'],
  ['down', '\0'],
  ['up', 'C0600 7 denied\n'],
  ['down', '\u0001scp: /srv/deep/denied: Permission denied\n'],
  ['up', 'E\n'],
  ['down', '\0'],
  ['up', 'C0644 3 after\n'],
  ['down', '\0'],
  ['up', 'abc\0'],
  ['down', '\u0001scp: disk full\n'],
]

describe('scp', () => {
  test.each([1, 3, 1_000])('an upload, in pieces of %d bytes', (pieceBytes) => {
    const { sink } = watch('to-upstream', upload, pieceBytes)
    expect(sink.lines).toEqual([
      'write /srv/a (5 bytes): ok',
      'write /srv/deep/empty (0 bytes): ok',
      'write /srv/deep/denied (7 bytes): error',
      'write /srv/after (3 bytes): error',
    ])
    expect(sink.seen[0]!.outcomes[0]).toMatchObject({ up: 5, tag: `sha256 ${sha256('hello')}` })
    expect(sink.seen[2]!.outcomes[0]!.text).toContain('Permission denied')
  })

  test('a download is the same the other way round', () => {
    const turned = upload.map(([way, text]) => [way === 'up' ? 'down' : 'up', text] as const)
    const { sink } = watch('from-upstream', turned)
    expect(sink.lines[0]).toBe('read /srv/a (5 bytes): ok')
    expect(sink.seen[0]!.outcomes[0]).toMatchObject({ down: 5, tag: `sha256 ${sha256('hello')}` })
  })

  test('a file that could not be read to its end', () => {
    const { sink } = watch('from-upstream', [
      ['up', '\0'],
      ['down', 'C0644 4 a\n'],
      ['up', '\0'],
      ['down', 'abcd\u0001scp: a: Input/output error\n'],
      ['up', '\0'],
      ['down', 'C0644 1 b\n'],
      ['up', '\0'],
      ['down', 'x\0'],
      ['up', '\0'],
    ])
    expect(sink.lines).toEqual([
      'read /srv/a (4 bytes): error',
      'other scp: a: Input/output error: ok',
      'read /srv/b (1 bytes): ok',
    ])
  })

  test.each([
    ['to-upstream', 'new.conf', 'write new.conf (1 bytes, sent as a)'],
    ['to-upstream', '/etc/a', 'write /etc/a (1 bytes)'],
    ['to-upstream', '.', 'write ./a (1 bytes)'],
    ['from-upstream', 'a', 'read a (1 bytes)'],
    ['from-upstream', '/etc/*', 'read /etc/a (1 bytes)'],
  ] as const)('%s of %s', (direction, path, line) => {
    const sink = createSink()
    const observer = observeScp(sink, createTestClock(), { channel: 3, direction, path })
    const isUp = direction === 'to-upstream'
    const [sender, receiver] = isUp
      ? (['fromClient', 'fromUpstream'] as const)
      : (['fromUpstream', 'fromClient'] as const)
    observer[receiver](Buffer.from('\0'))
    observer[sender](Buffer.from('C0644 1 a\n'))
    expect(sink.seen.map(({ text }) => text)).toEqual([line])
  })

  test('what is left at the end is settled once', () => {
    const { sink, observer } = watch('to-upstream', upload.slice(0, 5))
    observer.fromClient(Buffer.from('he'))
    observer.end()
    observer.end()
    expect(sink.lines).toEqual(['write /srv/a (5 bytes): cancelled'])
    expect(sink.seen[0]!.outcomes[0]!.up).toBe(2)
  })

  test.each([
    [
      'content before it was asked for',
      [
        ['down', '\0'],
        ['up', 'C0644 5 a\nhello'],
      ],
    ],
    [
      'a name that leaves the directory',
      [
        ['down', '\0'],
        ['up', 'C0644 5 ../a\n'],
      ],
    ],
    ['no scp at all', [['up', 'SSH-2.0-x\n']]],
    ['a line without an end', [['up', 'C'.repeat(9_000)]]],
  ] as [string, Step[]][])('%s from the client ends it', (_name, steps) => {
    expect(() => watch('to-upstream', steps)).toThrow(/scp/)
  })

  test('a shell that greets is not scp, and breaks nothing', () => {
    const { sink } = watch('to-upstream', [
      ['down', 'Welcome!\n'],
      ['up', 'whatever this is'],
    ])
    expect(sink.lines).toEqual([])
  })

  test.each([
    ['scp -t /srv', 'to-upstream', '/srv'],
    ['scp -r -p -d -t -- /srv/a b', 'to-upstream', '/srv/a b'],
    ['/usr/bin/scp -f x', 'from-upstream', 'x'],
    ['scp -rf x', 'from-upstream', 'x'],
    ['scp x y', undefined, undefined],
    ['echo scp -t /x', undefined, undefined],
    ['scp -t /x; cat /etc/shadow', undefined, undefined],
    ['scp -f $(id)', undefined, undefined],
  ])('%s', (command, direction, path) => {
    expect(scpDirection(command)?.direction).toBe(direction)
    expect(scpDirection(command)?.path).toBe(path)
  })
})
