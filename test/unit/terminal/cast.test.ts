/** asciicast v3 of recordings: valid line by line, whole characters only, and the same screen as what was written. */
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Frame } from '../../../control/api/audit/recording.ts'
import type { RecordingView } from '../../../control/api/recording-shapes.ts'
import { CastEvents, castHeader } from '../../../control/cli/recording/cast.ts'
import { keysOf } from '../../../control/cli/recording/keys.ts'
import { Playback } from '../../../control/cli/recording/playback.ts'
import {
  TerminalEvents,
  type TerminalEvent,
} from '../../../control/cli/recording/terminal-events.ts'
import { createTestClock } from '../../test-clock.ts'
import { drawnSession } from './drawn-session.ts'
import { screenOf } from './screen.ts'

const view: RecordingView = {
  ...{ sessionId: '00000000-0000-4000-8000-000000000001', number: 1, kind: 'terminal' },
  ...{ state: 'sealed', title: '/bin/bash', activity: 4, columns: 60, rows: 16, term: 'xterm' },
  ...{ beganAtUs: 1_767_225_600_500_000, lastedUs: 9_000_000, parts: 3, frames: 9, bytes: 99 },
  ...{ lostBytes: 0, digest: '', streams: null, deleted: false, exitStatus: 0 },
}

const header = z.strictObject({
  version: z.literal(3),
  term: z.strictObject({ cols: z.int().min(1), rows: z.int().min(1), type: z.string().optional() }),
  timestamp: z.int(),
  title: z.string().optional(),
  command: z.string().optional(),
})
const event = z.union([
  z.tuple([z.number().min(0), z.enum(['o', 'i', 'm']), z.string()]),
  z.tuple([z.number().min(0), z.literal('r'), z.string().regex(/^\d+x\d+$/)]),
  z.tuple([z.number().min(0), z.literal('x'), z.string().regex(/^\d+$/)]),
])

const frame = (kind: Frame['kind'], atUs: number, bytes: Buffer | string): Frame => ({
  ...{ kind, atUs, bytes: Buffer.from(bytes) },
})
const eventsOf = (frames: readonly Frame[], options = { lineFeeds: false, raw: false }) => {
  const translator = new TerminalEvents(options)
  return frames.map((one) => translator.of(one)).filter((one) => one !== undefined)
}
const castOf = (events: readonly TerminalEvent[]) => {
  const cast = new CastEvents()
  return events.map((one) => event.parse(JSON.parse(cast.line(one))))
}

describe('asciicast v3', () => {
  test('has a header and events with the time since the one before', () => {
    expect(header.parse(JSON.parse(castHeader(view)))).toEqual({
      ...{ version: 3, term: { cols: 60, rows: 16, type: 'xterm' }, timestamp: 1_767_225_600 },
      ...{ title: '/bin/bash', command: '/bin/bash' },
    })
    const hostile = castHeader({ ...view, title: 'x\u001b]0;y\u0007', term: '\u009bc' })
    expect(JSON.parse(hostile)).toMatchObject({
      ...{ title: 'x\\x1b]0;y\\x07', term: { type: '\\u009bc' } },
    })
    header.parse(
      JSON.parse(castHeader({ ...view, title: null, columns: null, rows: null, term: null })),
    )
    const size = Buffer.from([0, 100, 0, 30])
    const events = eventsOf([
      frame('upstream', 0, '$ '),
      frame('client', 1_500_000, 'ls\r'),
      frame('upstream-error', 1_600_000, 'oh\r\n'),
      // A side that is late does not turn time back.
      frame('resize', 1_599_000, size),
      frame('mark', 3_000_000, 'a warning'),
    ])
    expect(castOf(events)).toEqual([
      [0, 'o', '$ '],
      [1.5, 'i', 'ls\r'],
      [0.1, 'o', 'oh\r\n'],
      [0, 'r', '100x30'],
      [1.4, 'm', 'a warning'],
    ])
    expect(event.parse(JSON.parse(new CastEvents().exit(5, 130)))).toEqual([0.000005, 'x', '130'])
  })

  test.each([true, false])(
    'characters that are split over frames are put together; raw: %j',
    (raw) => {
      const bytes = Buffer.from('grün € 語 \u{1f600}')
      for (let at = 1; at < bytes.length; at += 1) {
        const events = eventsOf(
          [frame('upstream', 0, bytes.subarray(0, at)), frame('upstream', 9, bytes.subarray(at))],
          { lineFeeds: false, raw },
        )
        expect(
          castOf(events)
            .map(([, , data]) => data)
            .join(''),
        ).toBe(bytes.toString())
      }
      const one = Array.from(bytes, (byte, at) => frame('client', at, Buffer.from([byte])))
      expect(
        castOf(eventsOf(one))
          .map(([, , data]) => data)
          .join(''),
      ).toBe(bytes.toString())
    },
  )

  test('bare line feeds of a stream begin a new line, as a terminal would make them', () => {
    const lines = (...texts: string[]) =>
      eventsOf(
        texts.map((text) => frame('upstream', 0, text)),
        { lineFeeds: true, raw: false },
      )
        .map((one) => (one.kind === 'output' ? one.text : ''))
        .join('')
    expect(lines('a\nb\n\nc')).toBe('a\r\nb\r\n\r\nc')
    expect(lines('a\r\nb\r', '\nc')).toBe('a\r\nb\r\nc')
  })

  test('shows the same screen as what was written, at three moments', async () => {
    const { chunks, columns, rows } = drawnSession()
    const frames = chunks.map((chunk, index) => frame('upstream', index * 10_000, chunk))
    frames.splice(Math.floor(frames.length / 2), 0, frame('resize', 0, Buffer.from([0, 70, 0, 20])))
    for (const share of [0.3, 0.6, 1]) {
      const part = frames.slice(0, Math.floor(frames.length * share))
      const written = part.map(({ kind, bytes }) =>
        kind === 'resize' ? { columns: 70, rows: 20 } : bytes,
      )
      const played = castOf(eventsOf(part)).map(([, code, data]) =>
        code === 'r' ? { columns: 70, rows: 20 } : data,
      )
      const screen = await screenOf(played, columns, rows)
      expect(screen).toEqual(await screenOf(written, columns, rows))
      expect(screen.lines.join('').length).toBeGreaterThan(50)
    }
  })
})

describe('playback', () => {
  function startPlayback(texts: readonly [number, string][], idleLimitUs = Infinity) {
    const clock = createTestClock()
    const events = texts.map(([atUs, text]): TerminalEvent =>
      text.startsWith('#') ? { kind: 'mark', atUs, label: text } : { kind: 'output', atUs, text },
    )
    const shown = { text: '', ended: 0 }
    const playback = new Playback({
      ...{ clock, events, speed: 1, idleLimitUs, clear: '|' },
      write: (text) => void (shown.text += text),
      onEnd: () => void (shown.ended += 1),
    })
    return { clock, playback, shown }
  }
  const texts: [number, string][] = [
    [0, 'a'],
    [1_000_000, 'b'],
    [2_000_000, '#mark'],
    [61_000_000, 'ne'],
    [62_000_000, 'edle'],
  ]

  test('plays at its speed, pauses, goes on and ends', () => {
    const { clock, playback, shown } = startPlayback(texts)
    playback.play()
    clock.advance(0)
    expect(shown.text).toBe('a')
    clock.advance(500)
    playback.pause()
    clock.advance(60_000)
    expect(shown.text).toBe('a')
    playback.faster(2)
    playback.play()
    clock.advance(249)
    expect(shown.text).toBe('a')
    clock.advance(1)
    expect(shown.text).toBe('ab')
    clock.advance(31_000)
    expect(shown).toEqual({ text: 'abneedle', ended: 1 })
    expect(clock.pendingTimers).toBe(0)
  })

  test('cuts long pauses', () => {
    const { clock, playback, shown } = startPlayback(texts, 2_000_000)
    playback.play()
    clock.advance(5_000)
    expect(shown).toEqual({ text: 'abneedle', ended: 1 })
    expect(playback.placeOf(61_000_000)).toBe(4_000_000)
  })

  test('seeks on at once, and back from the beginning', () => {
    const { playback, shown } = startPlayback(texts)
    playback.seek(61_500_000)
    expect(shown.text).toBe('abne')
    playback.seek(1_500_000)
    expect(shown.text).toBe('abne|ab')
    playback.step()
    playback.step()
    expect(shown.text).toBe('abne|abne')
    playback.toMark(-1)
    expect(shown.text).toBe('abne|abne|ab')
    playback.redraw()
    expect(shown.text).toBe('abne|abne|ab|ab')
  })

  test('finds what was shown, also where it came in two pieces, and stays there', () => {
    const { playback, shown } = startPlayback(texts)
    expect(playback.find('NEEDLE')).toBe(true)
    expect(shown.text).toBe('abneedle')
    expect(playback.paused).toBe(true)
    expect(playback.find('needle')).toBe(false)
    expect(playback.find('nothing of the kind')).toBe(false)
  })

  test('keys come as words, arrows in both of their forms', () => {
    expect(keysOf('q \u001b[C\u001bOD\u0003/\u001b[<0;1;1M\u001b')).toEqual([
      ...['q', ' ', 'right', 'left', 'interrupt', '/', 'escape'],
    ])
  })
})
