/**
 * Binary values of PostgreSQL's common types as the text that `psql` would show. Anything unknown or
 * malformed is undefined: the audit then keeps the raw bytes.
 *
 * Source: the types' `*_send` functions in PostgreSQL's src/backend/utils/adt; object identifiers from
 * pg_type.dat.
 */

const oids = {
  bool: 16,
  bytea: 17,
  name: 19,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  bpchar: 1042,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
} as const

/** Whether a binary value of this type is its text, byte for byte. */
export function isTextInBinary(oid: number): boolean {
  return (
    oid === oids.text ||
    oid === oids.varchar ||
    oid === oids.bpchar ||
    oid === oids.name ||
    oid === oids.json
  )
}

/** The text of a value in binary form, or undefined. */
export function decodeBinary(oid: number, bytes: Buffer): string | undefined {
  const decode = decoders.get(oid)
  if (decode === undefined) return undefined
  const [length, read] = decode
  if (length >= 0 && bytes.length !== length) return undefined
  return read(bytes)
}

type Decoder = readonly [length: number, read: (bytes: Buffer) => string | undefined]
const anyLength = -1

const decoders = new Map<number, Decoder>([
  [oids.bool, [1, (bytes) => (bytes[0] === 0 ? 'f' : 't')]],
  [oids.int2, [2, (bytes) => String(bytes.readInt16BE())]],
  [oids.int4, [4, (bytes) => String(bytes.readInt32BE())]],
  [oids.int8, [8, (bytes) => String(bytes.readBigInt64BE())]],
  [oids.oid, [4, (bytes) => String(bytes.readUInt32BE())]],
  [oids.float4, [4, (bytes) => shortestFloat4(bytes.readFloatBE())]],
  [oids.float8, [8, (bytes) => float(bytes.readDoubleBE())]],
  [oids.uuid, [16, uuid]],
  [oids.date, [4, date]],
  [oids.timestamp, [8, (bytes) => timestamp(bytes, '')]],
  [oids.timestamptz, [8, (bytes) => timestamp(bytes, '+00')]],
  [oids.numeric, [anyLength, numeric]],
  [oids.jsonb, [anyLength, jsonb]],
])

function float(value: number): string {
  if (value === Infinity) return 'Infinity'
  if (value === -Infinity) return '-Infinity'
  return Object.is(value, -0) ? '-0' : String(value)
}

/** The shortest decimal that reads back as the same single-precision number. */
function shortestFloat4(value: number): string {
  if (!Number.isFinite(value)) return float(value)
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits)
    if (Math.fround(Number(text)) === value) return float(Number(text))
  }
  return float(value)
}

function uuid(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-')
}

/** Days and microseconds count from 2000-01-01. */
const epochMs = Date.UTC(2000, 0, 1)
const dayMs = 86_400_000

function date(bytes: Buffer): string | undefined {
  const days = bytes.readInt32BE()
  if (days === 0x7fff_ffff) return 'infinity'
  if (days === -0x8000_0000) return '-infinity'
  return day(epochMs + days * dayMs)
}

function timestamp(bytes: Buffer, zone: string): string | undefined {
  const micros = bytes.readBigInt64BE()
  if (micros === 0x7fff_ffff_ffff_ffffn) return 'infinity'
  if (micros === -0x8000_0000_0000_0000n) return '-infinity'
  const dayMicros = 86_400_000_000n
  const within = ((micros % dayMicros) + dayMicros) % dayMicros
  const dayNumber = Number((micros - within) / dayMicros)
  const dayText = day(epochMs + dayNumber * dayMs)
  if (dayText === undefined) return undefined
  const seconds = Number(within / 1_000_000n)
  const two = (value: number): string => String(value).padStart(2, '0')
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
  const fraction = String(within % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '')
  return `${dayText} ${clock}${fraction === '' ? '' : `.${fraction}`}${zone}`
}

/** ISO date of the years that JavaScript's calendar holds and that need no era; else undefined. */
function day(unixMs: number): string | undefined {
  if (Math.abs(unixMs) > 8.64e15) return undefined
  const moment = new Date(unixMs)
  const year = moment.getUTCFullYear()
  if (year < 1) return undefined
  const month = String(moment.getUTCMonth() + 1).padStart(2, '0')
  return `${String(year).padStart(4, '0')}-${month}-${String(moment.getUTCDate()).padStart(2, '0')}`
}

/** jsonb in binary is a version byte, 1, and the text. */
function jsonb(bytes: Buffer): string | undefined {
  return bytes[0] === 1 ? bytes.toString('utf8', 1) : undefined
}

/** `digits u16 | weight i16 | sign u16 | scale u16 | base-10000 digits u16…` */
function numeric(bytes: Buffer): string | undefined {
  if (bytes.length < 8) return undefined
  const count = bytes.readUInt16BE(0)
  const weight = bytes.readInt16BE(2)
  const sign = bytes.readUInt16BE(4)
  const scale = bytes.readUInt16BE(6)
  if (sign === 0xc000) return 'NaN'
  if (sign === 0xd000) return 'Infinity'
  if (sign === 0xf000) return '-Infinity'
  if (bytes.length !== 8 + 2 * count || (sign !== 0 && sign !== 0x4000)) return undefined
  // A few bytes may claim a number of 130,000 digits: such stay binary.
  if (scale > 16_383 || Math.abs(weight) > 4_096) return undefined
  const digit = (position: number): string => {
    const index = weight - position
    const value = index >= 0 && index < count ? bytes.readUInt16BE(8 + 2 * index) : 0
    return String(value).padStart(4, '0')
  }
  let whole = ''
  for (let position = weight; position >= 0; position--) whole += digit(position)
  let fraction = ''
  for (let position = -1; fraction.length < scale; position--) fraction += digit(position)
  const text = `${whole.replace(/^0+(?=\d)/, '') || '0'}${scale === 0 ? '' : `.${fraction.slice(0, scale)}`}`
  return sign === 0x4000 ? `-${text}` : text
}
