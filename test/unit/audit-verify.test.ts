import { describe, expect, test } from 'vitest'
import { decodeBatches, decodeOutcomeMeta, payloadFields } from '../../control/api/audit/decode.ts'
import { emptyDigest, encodePartMeta, rollDigest } from '../../control/api/audit/recording.ts'
import { bytesOfUuid } from '../../control/api/audit/uuid.ts'
import { verifySegments, type VerificationReport } from '../../control/api/audit/verify-chain.ts'
import { restorePayloads, withholdPayloads } from '../../control/api/audit/withhold.ts'
import type { AuditKeys, Segment } from '../../control/api/shapes.ts'
import { decodeActivity } from '../../protocols/activity.ts'
import {
  auditKeys,
  EpochBuilder,
  epochs,
  okOutcome,
  proxyId,
  segmentOf,
  sessionA,
  sessionB,
  smallBundle,
} from './audit-bundle.ts'

const { segments: bundle, builders } = await smallBundle()
const bytesOf = (segment: Segment): Buffer => Buffer.from(segment.batches, 'base64')
const withBytes = (segment: Segment, bytes: Buffer): Segment => ({
  ...segment,
  batches: bytes.toString('base64'),
})
const replaced = (index: number, segment: Segment): Segment[] =>
  bundle.map((other, at) => (at === index ? segment : other))
const kinds = (report: VerificationReport): string[] => report.damage.map(({ kind }) => kind)

describe('codec', () => {
  test('reads back what was written', () => {
    const batches = decodeBatches(bytesOf(bundle[1]!))
    expect(batches.map(({ number, firstSequence }) => [number, firstSequence])).toEqual([
      [3, 5],
      [4, 8],
    ])
    const [outcome, activity, failure] = batches[0]!.entries
    expect(outcome).toMatchObject({
      sequence: 5,
      type: 'outcome',
      reference: 4,
      sessionId: sessionA,
    })
    const { errorText: _, ...meta } = okOutcome
    expect(decodeOutcomeMeta(outcome!.meta)).toEqual(meta)
    expect(outcome!.commitment).toBeUndefined()
    expect(decodeActivity(payloadFields(activity!)!).text).toBe('select 1234')
    expect(payloadFields(failure!)!.toString()).toBe('no such table')
  })

  test('rows that nobody told survive', () => {
    const builder = new EpochBuilder(epochs[0])
    const bytes = builder.batchOf(builder.outcome(sessionA, 1, { rows: -1, tag: 'x'.repeat(300) }))
    const [batch] = decodeBatches(bytes)
    const meta = decodeOutcomeMeta(batch!.entries[0]!.meta)
    expect(meta.rows).toBe(-1)
    expect(meta.tag).toBe('x'.repeat(255))
  })

  test('an entry taken back leaves no trace', () => {
    const builder = new EpochBuilder(epochs[0])
    const bytes = builder.batchOf(builder.activity(sessionA, 'one'), () => {
      builder.encoder.beginEntry('activity', undefined, 1, 0).utf8('half')
      builder.encoder.abandonEntry()
    })
    expect(decodeBatches(bytes)[0]!.entries).toHaveLength(1)
  })

  test('payloads go and come back, and only the right ones', () => {
    const batch = decodeBatches(bytesOf(bundle[1]!))[0]!
    const bare = withholdPayloads(batch, () => false)
    const read = decodeBatches(bare)[0]!
    expect(read.entries.map(({ withheld }) => withheld)).toEqual([false, true, true])
    expect(read.entries[1]!.payload).toBeUndefined()
    expect(read.entries[1]!.commitment).toEqual(batch.entries[1]!.commitment)
    const whole = restorePayloads(bare, (sequence) => batch.entries[sequence - 5]!.payload)
    expect(whole.equals(batch.bytes)).toBe(true)
    const part = restorePayloads(bare, (sequence) =>
      sequence === 6 ? batch.entries[1]!.payload : undefined,
    )
    expect(decodeBatches(part)[0]!.entries.map((entry) => entry.withheld)).toEqual([
      false,
      false,
      true,
    ])
    expect(() => restorePayloads(bare, () => Buffer.alloc(32))).toThrow('committed to')
  })

  test('lengths that lie are refused with their place', () => {
    const bytes = bytesOf(bundle[0]!)
    for (let cut = 1; cut < bytes.length; cut += 1) {
      const short = bytes.subarray(0, cut)
      try {
        const batches = decodeBatches(short)
        expect(batches.at(-1)!.bytes.length).toBe(cut)
      } catch (error) {
        expect(error).toMatchObject({ code: 'audit-corrupt', offset: expect.any(Number) })
      }
    }
  })
})

describe('verifySegments', () => {
  test('an untouched bundle is green', async () => {
    const report = await verifySegments(bundle, auditKeys)
    expect(report.damage).toEqual([])
    expect(report).toMatchObject({ ok: true, segments: 3, batches: 6, entries: 11 })
    expect(report.chains[0]!.epochs).toMatchObject([
      { activities: 2, lastBatch: 4, headSignedByProxy: true, headSignedByControl: true },
      { activities: 0, lastBatch: 2, headSignedByProxy: true, headSignedByControl: true },
    ])
  })

  test('withheld payloads are green', async () => {
    const bare = bundle.map((segment) =>
      withBytes(
        segment,
        Buffer.concat(
          decodeBatches(bytesOf(segment)).map((batch) => withholdPayloads(batch, () => false)),
        ),
      ),
    )
    const report = await verifySegments(bare, auditKeys)
    expect(report.damage).toEqual([])
    expect(report.chains[0]!.epochs[0]!.payloadsWithheld).toBe(3)
  })

  test('every flipped byte is reported, in its segment', async () => {
    for (const [index, segment] of bundle.entries()) {
      const bytes = bytesOf(segment)
      for (let at = 0; at < bytes.length; at += 1) {
        const flipped = Buffer.from(bytes)
        flipped[at]! ^= 1 << (at % 8)
        const report = await verifySegments(replaced(index, withBytes(segment, flipped)), auditKeys)
        expect(report.ok, `segment ${index}, byte ${at}`).toBe(false)
        expect(report.damage[0]).toMatchObject({ chain: proxyId, segment: index })
      }
    }
  }, 60_000)

  test('every changed character of a signature is reported', async () => {
    const segment = bundle[0]!
    for (const use of ['checkpoint', 'countersignature'] as const) {
      for (let at = 0; at < segment[use].length; at += 1) {
        const was = segment[use][at]!
        const other = was === 'A' ? 'B' : 'A'
        const token = segment[use].slice(0, at) + other + segment[use].slice(at + 1)
        const report = await verifySegments(replaced(0, { ...segment, [use]: token }), auditKeys)
        expect(report.ok, `${use} character ${at}`).toBe(false)
      }
    }
  }, 60_000)

  test('a cut at every batch and every byte of a segment is reported', async () => {
    for (const [index, segment] of bundle.entries()) {
      const bytes = bytesOf(segment)
      for (let length = 0; length < bytes.length; length += 1) {
        const short = withBytes(segment, bytes.subarray(0, length))
        const report = await verifySegments(replaced(index, short), auditKeys)
        expect(report.ok, `segment ${index} cut to ${length}`).toBe(false)
        expect(kinds(report)).toContain('tail-missing')
      }
    }
  }, 60_000)

  test('every missing batch and every swapped pair is reported', async () => {
    const all = bundle.map((segment) => decodeBatches(bytesOf(segment)).map((batch) => batch.bytes))
    const rebuilt = (parts: Buffer[][]): Segment[] =>
      bundle.map((segment, index) => withBytes(segment, Buffer.concat(parts[index]!)))
    expect((await verifySegments(rebuilt(all), auditKeys)).ok).toBe(true)
    const flat = all.flat()
    for (let one = 0; one < flat.length; one += 1) {
      const without = all.map((parts) => parts.filter((part) => part !== flat[one]))
      expect((await verifySegments(rebuilt(without), auditKeys)).ok).toBe(false)
      for (let other = one + 1; other < flat.length; other += 1) {
        const swap = (part: Buffer): Buffer =>
          part === flat[one] ? flat[other]! : part === flat[other] ? flat[one]! : part
        const swapped = all.map((parts) => parts.map(swap))
        const report = await verifySegments(rebuilt(swapped), auditKeys)
        expect(report.ok, `swapped ${one} and ${other}`).toBe(false)
      }
    }
  })

  test('missing, repeated and swapped segments are reported', async () => {
    const [one, two, three] = bundle as [Segment, Segment, Segment]
    for (const order of [
      [two, three],
      [one, three],
      [two, one, three],
      [one, three, two],
      [three, one, two],
      [one, one, two, three],
      [three],
    ]) {
      const report = await verifySegments(order, auditKeys)
      expect(report.ok).toBe(false)
    }
  })

  test('a tail cut with its signatures is found through a remembered head', async () => {
    const short = bundle.slice(0, 2)
    expect((await verifySegments(short, auditKeys)).ok).toBe(true)
    const [, two] = builders
    const head = { chain: proxyId, epoch: two!.epoch, batch: 2, link: two!.link.toString('hex') }
    expect((await verifySegments(bundle, auditKeys, { heads: [head] })).ok).toBe(true)
    const report = await verifySegments(short, auditKeys, { heads: [head] })
    expect(report.damage).toMatchObject([
      { kind: 'tail-missing', chain: proxyId, epoch: two!.epoch, batch: 2 },
    ])
    const other = { ...head, link: '0'.repeat(64) }
    expect(kinds(await verifySegments(bundle, auditKeys, { heads: [other] }))).toEqual([
      'head-wrong',
    ])
    expect(kinds(await verifySegments([], auditKeys, { heads: [head] }))).toEqual(['tail-missing'])
  })

  test('goes on after damage, finds all of it, and bounds what it keeps', async () => {
    const both = [0, 1].map((index) => {
      const bytes = bytesOf(bundle[index]!)
      bytes[bytes.length - 1]! ^= 1
      return withBytes(bundle[index]!, bytes)
    })
    const damaged = [...both, bundle[2]!]
    const report = await verifySegments(damaged, auditKeys)
    expect(new Set(report.damage.map(({ segment }) => segment))).toEqual(new Set([0, 1, 2]))
    expect(report.batches).toBe(6)
    const bounded = await verifySegments(damaged, auditKeys, { damagesMax: 1 })
    expect(bounded.damage).toHaveLength(1)
    expect(bounded.damageOmitted).toBe(report.damage.length - 1)
  })

  test('a key of another chain or use signs nothing', async () => {
    const [proxyKey, controlKey] = auditKeys.keys
    const wrong: AuditKeys[] = [
      { keys: [] },
      { keys: [{ ...proxyKey!, chain: 'control' }, controlKey!] },
      { keys: [{ ...proxyKey!, use: 'countersignature' }, controlKey!] },
    ]
    for (const keys of wrong) {
      expect(kinds(await verifySegments(bundle, keys))).toContain('signature-wrong')
    }
  })
})

describe('the story of sessions', () => {
  const verify = async (
    ...steps: ((builder: EpochBuilder) => () => void)[]
  ): Promise<VerificationReport> => {
    const builder = new EpochBuilder(epochs[0])
    const started = { version: '1', lostSessions: [], damage: [] }
    const batch = builder.batchOf(
      builder.event('proxy-started', undefined, started),
      ...steps.map((step) => step(builder)),
    )
    return verifySegments([await segmentOf(builder, [batch])], auditKeys)
  }
  type Step = (builder: EpochBuilder) => () => void
  const opened: Step = (builder) => builder.event('session-opened', sessionA, {})
  const cut: Step = (builder) => builder.event('session-cut', sessionA, {})
  const closed: Step = (builder) => builder.event('session-closed', sessionA, {})
  const activity: Step = (builder) => builder.activity(sessionA, 'x')
  const outcomeOf =
    (reference: number, session = sessionA): Step =>
    (builder) =>
      builder.outcome(session, reference)

  test.each<[string, Step[], string[]]>([
    ['whole', [opened, activity, outcomeOf(3), cut, closed], []],
    ['live', [opened, activity], []],
    ['outcome after the cut', [opened, activity, cut, outcomeOf(3), closed], []],
    ['activity before opening', [activity, opened], ['session-wrong']],
    ['activity after the end', [opened, closed, activity], ['session-wrong']],
    ['activity after the cut', [opened, cut, activity], ['session-wrong']],
    ['opened twice', [opened, opened], ['session-wrong']],
    ['cut twice', [opened, cut, cut], ['session-wrong']],
    ['closed twice', [opened, closed, closed], ['session-wrong']],
    ['outcome of nothing', [opened, outcomeOf(9)], ['outcome-wrong']],
    ['outcome before its activity', [opened, outcomeOf(4), activity], ['outcome-wrong']],
    ['two outcomes', [opened, activity, outcomeOf(3), outcomeOf(3)], ['outcome-wrong']],
    ['outcome of another session', [opened, activity, outcomeOf(3, sessionB)], ['outcome-wrong']],
    [
      'entry after the stop',
      [(builder) => builder.event('proxy-stopped', undefined, {}), opened],
      ['order-wrong'],
    ],
  ])('%s', async (_name, steps, damage) => {
    expect(kinds(await verify(...steps))).toEqual(damage)
  })

  const digestOf = (...commitments: Buffer[]): string =>
    commitments.reduce(rollDigest, emptyDigest(bytesOfUuid(sessionA), 1)).toString('hex')
  const commitments: Buffer[] = []
  const part =
    (number: number): Step =>
    (builder) =>
    () => {
      const writer = builder.encoder.beginEntry('recording', bytesOfUuid(sessionA), 1, 1)
      encodePartMeta(writer, {
        ...{ part: number, hidden: false, firstUs: 0, lastUs: 0 },
        ...{ frames: 1, bytes: 2 },
      })
      builder.encoder.endMeta()
      builder.encoder.beginPayload()
      writer.utf8(`part ${number}`)
      builder.sequence = builder.encoder.endEntry()
      commitments.push(Buffer.from(builder.encoder.commitment, 'latin1'))
    }
  const ended =
    (meta: object = {}): Step =>
    (builder) =>
    () => {
      const writer = builder.encoder.beginEntry('recording-ended', bytesOfUuid(sessionA), 1, 1)
      const frames = commitments.length
      const digest = digestOf(...commitments)
      const whole = { parts: frames, frames, bytes: 2 * frames, digest, lostBytes: 0, ...meta }
      writer.utf8(JSON.stringify(whole))
      builder.encoder.endMeta()
      builder.sequence = builder.encoder.endEntry()
    }
  test.each<[string, Step[], string[]]>([
    ['whole', [opened, part(0), part(1), ended(), closed], []],
    ['on after the cut', [opened, part(0), cut, part(1), ended(), closed], []],
    ['live', [opened, part(0)], []],
    ['without its session', [part(0)], ['session-wrong']],
    ['a part missing', [opened, part(0), part(2), ended()], ['recording-wrong']],
    ['on after its end', [opened, part(0), ended(), part(1)], ['recording-wrong']],
    ['another digest', [opened, part(0), ended({ digest: '0'.repeat(64) })], ['recording-wrong']],
    ['fewer parts than said', [opened, part(0), ended({ parts: 2 })], ['recording-wrong']],
    ['no end in a session that has one', [opened, part(0), closed], ['recording-wrong']],
    ['an end that is none', [opened, part(0), ended({ frames: -1 })], ['unreadable']],
  ])('a recording: %s', async (_name, steps, damage) => {
    commitments.length = 0
    expect(kinds(await verify(...steps))).toEqual(damage)
  })

  test('a session that the next epoch does not name lost is reported', async () => {
    const one = new EpochBuilder(epochs[0])
    const started = { version: '1', lostSessions: [], damage: [] }
    const first = one.batchOf(
      one.event('proxy-started', undefined, started),
      one.event('session-opened', sessionA, {}),
    )
    const head = { epoch: one.epoch, batch: 1, sequence: 2, link: one.link.toString('hex') }
    const segment = await segmentOf(one, [first])
    const next = async (meta: object): Promise<string[]> => {
      const two = new EpochBuilder(epochs[1])
      const batch = two.batchOf(two.event('proxy-started', undefined, { ...started, ...meta }))
      return kinds(await verifySegments([segment, await segmentOf(two, [batch])], auditKeys))
    }
    expect(await next({ previous: head, lostSessions: [sessionA] })).toEqual([])
    expect(await next({ previous: head })).toEqual(['session-wrong'])
    expect(await next({ previous: head, lostSessions: [sessionA, sessionB] })).toEqual([
      'session-wrong',
    ])
    expect(await next({ lostSessions: [sessionA] })).toEqual(['epoch-wrong'])
    expect(await next({ previous: { ...head, batch: 2 }, lostSessions: [sessionA] })).toEqual([
      'tail-missing',
    ])
  })
})
