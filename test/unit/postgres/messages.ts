/** Messages of both sides, and a sink that remembers. */
import {
  decodeActivity,
  FieldWriter,
  type ActivityKind,
  type DecodedActivity,
  type Outcome,
} from '../../../protocols/activity.ts'
import { ByteWriter } from '../../../protocols/kit/byte-writer.ts'
import { defaultLimits, type Limits } from '../../../protocols/kit/limits.ts'
import { observe, type Observer } from '../../../protocols/postgres/observe.ts'
import type { AuditSink } from '../../../protocols/postgres/observe/ledger.ts'
import {
  backendLengths,
  frontend,
  frontendLengths,
  message,
} from '../../../protocols/postgres/wire.ts'
import { FrameScanner } from '../../../protocols/postgres/wire/frames.ts'
import { createTestClock } from '../../test-clock.ts'

const text = (value: string): Buffer => Buffer.from(`${value}\0`)
const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
const tagged = (letter: string, ...parts: Buffer[]): Buffer =>
  message(letter.charCodeAt(0), ...parts)

export interface Value {
  binary?: boolean
  bytes: Buffer | null
}

const values = (list: readonly Value[]): Buffer[] => [
  int16(list.length),
  ...list.map(({ binary }) => int16(binary === true ? 1 : 0)),
  int16(list.length),
  ...list.flatMap(({ bytes }) => (bytes === null ? [int32(-1)] : [int32(bytes.length), bytes])),
]

export const client = {
  query: (sql: string) => tagged('Q', text(sql)),
  parse: (name: string, sql: string, types: number[] = []) =>
    tagged('P', text(name), text(sql), int16(types.length), ...types.map(int32)),
  bind: (portal: string, statement: string, list: readonly (string | null | Value)[] = []) =>
    tagged(
      'B',
      text(portal),
      text(statement),
      ...values(
        list.map((value) =>
          typeof value === 'string' ? { bytes: Buffer.from(value) } : (value ?? { bytes: null }),
        ),
      ),
      int16(0),
    ),
  execute: (portal: string, rows = 0) => tagged('E', text(portal), int32(rows)),
  describe: (what: 'S' | 'P', name: string) => tagged('D', Buffer.from(what), text(name)),
  close: (what: 'S' | 'P', name: string) => tagged('C', Buffer.from(what), text(name)),
  sync: () => tagged('S'),
  flush: () => tagged('H'),
  copyData: (data: string) => tagged('d', Buffer.from(data)),
  copyDone: () => tagged('c'),
  copyFail: (why: string) => tagged('f', text(why)),
  functionCall: (oid: number, list: readonly Value[]) =>
    tagged('F', int32(oid), ...values(list), int16(0)),
  terminate: () => tagged('X'),
}

export const server = {
  parsed: () => tagged('1'),
  bound: () => tagged('2'),
  closed: () => tagged('3'),
  ready: (status = 'I') => tagged('Z', Buffer.from(status)),
  complete: (tag: string) => tagged('C', text(tag)),
  row: (...columns: string[]) =>
    tagged(
      'D',
      int16(columns.length),
      ...columns.flatMap((column) => [int32(column.length), Buffer.from(column)]),
    ),
  types: (...oids: number[]) => tagged('t', int16(oids.length), ...oids.map(int32)),
  rowDescription: () => tagged('T', int16(0)),
  noData: () => tagged('n'),
  suspended: () => tagged('s'),
  empty: () => tagged('I'),
  error: (code: string, why: string, severity = 'ERROR') =>
    tagged('E', Buffer.from(`S${severity}\0V${severity}\0C${code}\0M${why}\0\0`)),
  notice: (why: string) => tagged('N', Buffer.from(`SNOTICE\0M${why}\0\0`)),
  notification: () => tagged('A', int32(1), text('channel'), text('payload')),
  parameter: (name: string, value: string) => tagged('S', text(name), text(value)),
  copyIn: () => tagged('G', Buffer.from([0]), int16(0)),
  copyOut: () => tagged('H', Buffer.from([0]), int16(0)),
  copyBoth: () => tagged('W', Buffer.from([0]), int16(0)),
  copyData: (data: string) => tagged('d', Buffer.from(data)),
  copyDone: () => tagged('c'),
  functionResult: (value: string) => tagged('V', int32(value.length), Buffer.from(value)),
}

export interface SeenRecord extends DecodedActivity {
  id: number
  kind: ActivityKind
  outcomes: Outcome[]
}

export interface Wire {
  readonly observer: Observer
  readonly records: SeenRecord[]
  readonly blobs: Buffer[]
  readonly abandoned: number
  /** What was passed on, both ways. */
  readonly upstream: Buffer[]
  readonly downstream: Buffer[]
  readonly stalled: boolean
  /** How many records there were when each piece went upstream. */
  readonly recordsAtPiece: number[]
  toServer(...messages: Buffer[]): void
  toClient(...messages: Buffer[]): void
  settledOnce(): boolean
  texts(): string[]
  outcome(index: number): Outcome
}

/** An observer between two scanners, as the relay puts them. */
export function wireUp(limits: Partial<Limits> = {}): Wire {
  const all = { ...defaultLimits, ...limits }
  const records: SeenRecord[] = []
  const blobs: Buffer[] = []
  const upstream: Buffer[] = []
  const downstream: Buffer[] = []
  const recordsAtPiece: number[] = []
  const waiting: Buffer[] = []
  let abandoned = 0
  const batch = new ByteWriter()
  const fields = new FieldWriter(batch)
  const sink: AuditSink = {
    report(activity) {
      batch.reset()
      activity.encode(fields)
      const id = records.length
      const decoded = decodeActivity(Buffer.from(batch.bytes()))
      records.push({ ...decoded, id, kind: activity.kind, outcomes: [] })
      return id
    },
    settle: (id, outcome) => void records[id]!.outcomes.push({ ...outcome }),
    spill() {
      const parts: Buffer[] = []
      return {
        write: (bytes) => void parts.push(Buffer.from(bytes)),
        finish() {
          blobs.push(Buffer.concat(parts))
          return { sha256: Buffer.alloc(32, blobs.length), bytes: Buffer.concat(parts).length }
        },
        abandon() {
          abandoned++
        },
      }
    },
  }
  const observer = observe(sink, all, createTestClock())
  const requests = new FrameScanner({
    lengths: frontendLengths(all),
    heldBytesMax: all.messageInMemoryBytesMax,
    streamedTypes: [frontend.copyData],
    who: 'client',
    visitor: observer.requests,
    emit(piece) {
      upstream.push(Buffer.from(piece))
      recordsAtPiece.push(records.length)
    },
  })
  const answers = new FrameScanner({
    lengths: backendLengths(all),
    heldBytesMax: 16 * 1024,
    streamedTypes: [],
    who: 'resource',
    visitor: observer.answers,
    emit: (piece) => void downstream.push(Buffer.from(piece)),
  })
  return {
    observer,
    records,
    blobs,
    upstream,
    downstream,
    recordsAtPiece,
    get abandoned() {
      return abandoned
    },
    get stalled() {
      return requests.stalled
    },
    toServer(...messages) {
      observer.tick()
      for (const chunk of messages) {
        if (requests.stalled) waiting.push(chunk)
        else requests.push(chunk)
      }
    },
    toClient(...messages) {
      observer.tick()
      for (const chunk of messages) {
        answers.push(chunk)
        if (!requests.stalled || !requests.resume()) continue
        while (waiting.length > 0 && !requests.stalled) requests.push(waiting.shift()!)
      }
    },
    settledOnce: () => records.every(({ outcomes }) => outcomes.length === 1),
    texts: () => records.filter(({ kind }) => kind === 'statement').map((record) => record.text),
    outcome: (index) => records[index]!.outcomes[0]!,
  }
}
