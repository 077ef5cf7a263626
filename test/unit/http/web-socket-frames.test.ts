import type { Writable } from 'node:stream'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import * as ws from 'ws'
import {
  closeFrame,
  FrameError,
  FrameReader,
  wholeBytesMax,
  type FrameSide,
} from '../../../protocols/http/wire/web-socket-frames.ts'

// Exported, and missing from its types.
const { Receiver } = ws as unknown as {
  Receiver: new (options: { isServer: boolean; skipUTF8Validation: boolean }) => Writable
}

interface Frame {
  readonly first: number
  readonly payload: Buffer
  readonly isMasked: boolean
}

function encode({ first, payload, isMasked }: Frame): Buffer {
  const { length } = payload
  const extended = Buffer.alloc(length < 126 ? 0 : length < 65_536 ? 2 : 8)
  if (extended.length === 2) extended.writeUInt16BE(length)
  if (extended.length === 8) extended.writeBigUInt64BE(BigInt(length))
  const short = extended.length === 0 ? length : extended.length === 2 ? 126 : 127
  const head = Buffer.from([first, (isMasked ? 0x80 : 0) | short])
  if (!isMasked) return Buffer.concat([head, extended, payload])
  const mask = Buffer.from([1, 2, 3, 4])
  const masked = payload.map((byte, at) => byte ^ mask[at & 3]!)
  return Buffer.concat([head, extended, mask, masked])
}

interface Seen {
  /** Messages, pings, pongs and the close, in the order of their ends. */
  readonly events: string[]
  readonly error: string | undefined
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((start, index) => bytes.subarray(start, at[index] ?? bytes.length))
}

/** What our reader sees, and what it lets pass. */
function read(side: FrameSide, chunks: readonly Buffer[]) {
  const events: string[] = []
  const passed: Buffer[] = []
  let text: Buffer[] = []
  let message = 0
  let seen = 0
  // A frame is told of by its head: that it has ended is known by the next one, or by standing between two.
  let unended: string | undefined
  const end = (): void => {
    if (unended !== undefined) events.push(unended)
    unended = undefined
  }
  let error: FrameError | undefined
  const reader = new FrameReader(
    {
      pass: (bytes) => void passed.push(bytes),
      frame(opcode, isFinal, payloadBytes) {
        end()
        if (opcode === 9) events.push(`ping ${payloadBytes}`)
        if (opcode === 10) events.push(`pong ${payloadBytes}`)
        if (opcode >= 8) return
        if (opcode !== 0) {
          message = opcode
          seen = 0
        }
        seen += payloadBytes
        if (isFinal && message === 2) unended = `binary ${seen}`
      },
      text(part, isEnd) {
        text.push(Buffer.from(part))
        if (!isEnd) return
        events.push(`text ${Buffer.concat(text).toString('hex')}`)
        text = []
      },
      close: (code) => void events.push(`close ${code ?? 1005}`),
    },
    { side, mayCompress: false },
  )
  try {
    for (const chunk of chunks) reader.push(chunk)
  } catch (thrown) {
    error = thrown as FrameError
  }
  if (reader.isAtBoundary) end()
  return { events, error: error?.message, passed: Buffer.concat(passed), reader } satisfies Seen & {
    passed: Buffer
    reader: FrameReader
  }
}

/** What the receiver of `ws` sees. */
async function receive(side: FrameSide, chunks: readonly Buffer[]): Promise<Seen> {
  const events: string[] = []
  let error: Error | undefined
  const receiver = new Receiver({ isServer: side === 'client', skipUTF8Validation: true })
  receiver.on('message', (data: Buffer, isBinary: boolean) => {
    events.push(isBinary ? `binary ${data.length}` : `text ${data.toString('hex')}`)
  })
  receiver.on('ping', (data: Buffer) => events.push(`ping ${data.length}`))
  receiver.on('pong', (data: Buffer) => events.push(`pong ${data.length}`))
  receiver.on('conclude', (code: number) => events.push(`close ${code}`))
  receiver.on('error', (thrown: Error) => {
    error = thrown
  })
  for (const chunk of chunks) {
    if (error !== undefined || events.at(-1)?.startsWith('close') === true) break
    // A copy: it unmasks in place.
    await new Promise<void>((resolve) => receiver.write(Buffer.from(chunk), () => resolve()))
  }
  return { events, error: error?.message }
}

const payload = fc.oneof(
  { weight: 8, arbitrary: fc.uint8Array({ maxLength: 130 }) },
  { weight: 1, arbitrary: fc.constantFrom(wholeBytesMax, wholeBytesMax + 1, 65_535, 65_536) },
)
const frames = fc.array(
  fc.record({
    first: fc.oneof(
      {
        weight: 20,
        arbitrary: fc.constantFrom(0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x88, 0x89, 0x8a),
      },
      { weight: 1, arbitrary: fc.nat(255) },
    ),
    payload: payload.map((made) =>
      Buffer.from(typeof made === 'number' ? Buffer.alloc(made, 7) : made),
    ),
    isWrong: fc.oneof(
      { weight: 30, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
  }),
  { minLength: 1, maxLength: 8 },
)

test('frames are read as the receiver of ws reads them, however they are split', async () => {
  await fc.assert(
    fc.asyncProperty(
      frames,
      fc.constantFrom<FrameSide>('client', 'app'),
      fc.array(fc.nat(), { maxLength: 12 }),
      fc.boolean(),
      async (made, side, cuts, isWhole) => {
        const bytes = Buffer.concat(
          made.map(({ isWrong, ...frame }) =>
            encode({ ...frame, isMasked: (side === 'client') !== isWrong }),
          ),
        )
        const chunks = split(bytes, cuts).slice(0, isWhole ? undefined : -1)
        const ours = read(side, chunks)
        const theirs = await receive(side, chunks)
        expect(ours.events).toEqual(theirs.events)
        expect(ours.error === undefined).toBe(theirs.error === undefined)
        expect(ours.passed).toEqual(bytes.subarray(0, ours.passed.length))
      },
    ),
    { numRuns: 500 },
  )
})

test('noise is read as ws reads it, save that lengths must be the shortest', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 60 }),
      fc.constantFrom<FrameSide>('client', 'app'),
      async (noise, side) => {
        const ours = read(side, [Buffer.from(noise)])
        const theirs = await receive(side, [Buffer.from(noise)])
        if (ours.error?.includes('more bytes than it takes') === true) return
        expect(ours.events).toEqual(theirs.events)
        expect(ours.error === undefined).toBe(theirs.error === undefined)
      },
    ),
    {
      numRuns: 2_000,
      // The head of a long frame alone, and that of a close frame which cannot be right.
      examples: [
        [Uint8Array.from([130, 126, 64, 1]), 'app'],
        [Uint8Array.from([136, 1]), 'app'],
        [Uint8Array.from([136, 129]), 'client'],
      ],
    },
  )
})

test('whatever is not a long frame passes whole, and all of it passes', () => {
  const frame = encode({ first: 0x82, payload: Buffer.alloc(wholeBytesMax), isMasked: false })
  const { passed } = read('app', [frame.subarray(0, frame.length - 1)])
  expect(passed.length).toBe(0)
  const whole = read(
    'app',
    [...frame].map((byte) => Buffer.from([byte])),
  )
  expect(whole.passed).toEqual(frame)
})

test('a long frame passes as it comes, and is no place for another', () => {
  const frame = encode({ first: 0x82, payload: Buffer.alloc(wholeBytesMax + 1), isMasked: false })
  const { passed, reader } = read('app', [frame.subarray(0, 100)])
  expect(passed.length).toBe(100)
  expect(reader.isAtBoundary).toBe(false)
  reader.push(frame.subarray(100))
  expect(reader.isAtBoundary).toBe(true)
})

test.each([
  [0, ''],
  [1, 'half a close code'],
])('a close frame with %i bytes', (length, error) => {
  const frame = encode({ first: 0x88, payload: Buffer.alloc(length, 3), isMasked: false })
  expect(read('app', [frame]).error ?? '').toBe(error)
})

test('a close code that nobody may send is refused', () => {
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 2999, 5000]) {
    expect(read('app', [closeFrame(code, 'x')]).error, String(code)).toBe(`close code ${code}`)
  }
})

test('a reason is cut between characters', () => {
  const frame = closeFrame(1008, 'ü'.repeat(100))
  expect(frame.length).toBe(2 + 2 + 122)
  expect(read('app', [frame])).toMatchObject({ events: ['close 1008'], error: undefined })
  expect(read('client', [closeFrame(1008, 'why', Buffer.from([9, 8, 7, 6]))]).events).toEqual([
    'close 1008',
  ])
})

test('compressed messages pass only where both agreed on them', () => {
  const pass = (mayCompress: boolean, first: number): void =>
    new FrameReader({ pass() {}, frame() {}, close() {} }, { side: 'app', mayCompress }).push(
      encode({ first, payload: Buffer.alloc(3), isMasked: false }),
    )
  expect(() => pass(false, 0xc1)).toThrow(FrameError)
  expect(() => pass(true, 0xc1)).not.toThrow()
  expect(() => pass(true, 0xc9)).toThrow(FrameError)
  expect(() => pass(true, 0xa1)).toThrow(FrameError)
})
