/**
 * What one turn of the event loop costs the audit: microseconds per batch of n statements (an activity and an outcome
 * each), records to written and forwarded, and what parts of it cost. Prints JSON.
 */
import {
  createCipheriv,
  createHmac,
  createSecretKey,
  hash,
  randomBytes,
  type CipherKey,
} from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { parseArgs } from 'node:util'
import { systemClock } from '../../protocols/kit/clock.ts'
import { newOutcome, type ActivitySource } from '../../protocols/activity.ts'
import { createForwarder } from '../../proxy/audit/forwarder.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import type { Durability, Spool } from '../../proxy/audit/spool-types.ts'
import { sessionOpened } from '../../test/fakes/session-opened.ts'
import { machine } from '../report.ts'
import { figureOf, type Figure } from '../statistics.ts'

const { values } = parseArgs({
  options: {
    batches: { type: 'string', default: '30000' },
    rounds: { type: 'string', default: '5' },
  },
})
const batches = Number(values.batches)
const rounds = Number(values.rounds)
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const text = 'select abalance from pgbench_accounts where aid = 4711 -- 60 b'
const source: ActivitySource = {
  kind: 'statement',
  encode(fields) {
    fields.utf8('text', text)
  },
}
const outcome = newOutcome({
  ...{ rows: 1, bytesUp: 60, bytesDown: 80, durationUs: 120, tag: 'SELECT 1' },
})

function figure(samples: number[]): Figure & { unit: 'us' } {
  const round = (value: number): number => Math.round(value * 100) / 100
  const { median, min, max } = figureOf(samples)
  return { median: round(median), min: round(min), max: round(max), unit: 'us' }
}

/** Microseconds of processor time per turn, the loop's own share taken off. */
async function perBatch(spool: Spool, statements: number, durability: Durability): Promise<number> {
  const session = createSpoolSession('00000000-0000-4000-8000-000000000001', durability)
  spool.appendEvent('session-opened', session.sessionId, sessionOpened)
  const target = new Writable({ write: (_chunk, _encoding, done) => done() })
  const chunk = Buffer.alloc(80)
  const forwarder = createForwarder(spool, session, {
    durability,
    queueBytesMax: 1 << 20,
    onDrain() {},
    onFailure() {},
  })
  const turns = durability === 'synced' ? Math.min(batches, 300) : batches
  const started = process.hrtime.bigint()
  for (let turn = 0; turn < turns; turn += 1) {
    for (let statement = 0; statement < statements; statement += 1) {
      const id = spool.appendActivity(session, source)
      spool.appendOutcome(session, id, outcome)
      forwarder.forward(target, chunk)
    }
    if (durability === 'synced') await spool.commitNow('synced')
    else await new Promise((resolve) => setImmediate(resolve))
  }
  return Number(process.hrtime.bigint() - started) / 1000 / turns
}

async function emptyTurn(): Promise<number> {
  const started = process.hrtime.bigint()
  for (let turn = 0; turn < batches; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  return Number(process.hrtime.bigint() - started) / 1000 / batches
}

function timed(run: () => unknown, times = 20_000): number {
  for (let index = 0; index < times / 10; index += 1) run()
  const started = process.hrtime.bigint()
  for (let index = 0; index < times; index += 1) run()
  return Number(process.hrtime.bigint() - started) / 1000 / times
}

/** What else could have been done with a batch of `bytes` bytes. */
function alternatives(bytes: number, directory: string): Record<string, number> {
  const data = randomBytes(bytes)
  const raw = randomBytes(32)
  const key = createSecretKey(raw)
  const nonce = randomBytes(12)
  const aead = (name: 'aes-256-gcm' | 'chacha20-poly1305', secret: CipherKey): Buffer => {
    const cipher = createCipheriv(name as 'aes-256-gcm', secret, nonce, { authTagLength: 16 })
    cipher.setAAD(nonce)
    const sealed = cipher.update(data)
    cipher.final()
    cipher.getAuthTag()
    return sealed
  }
  const stream = createCipheriv('aes-256-ctr', key, randomBytes(16))
  const file = openSync(join(directory, 'alternatives'), 'w')
  const us = {
    sha256OneShot: timed(() => hash('sha256', data, 'buffer')),
    sha256OneShotBinary: timed(() => hash('sha256', data, 'binary')),
    aesGcmKeyObject: timed(() => aead('aes-256-gcm', key)),
    aesGcmRawKey: timed(() => aead('aes-256-gcm', raw), 5_000),
    chacha20Poly1305: timed(() => aead('chacha20-poly1305', key)),
    aesCtrStreamAndHmac: timed(() => {
      stream.update(data)
      return createHmac('sha256', key).update(data).digest()
    }),
    writeSync: timed(() => writeSync(file, data, 0, data.length)),
  }
  closeSync(file)
  return Object.fromEntries(
    Object.entries(us).map(([name, value]) => [name, Math.round(value * 100) / 100]),
  )
}

const directory = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
try {
  const spool = await openSpool({
    directory: join(directory, 'spool'),
    key: randomBytes(32),
    proxyId: '00000000-0000-4000-8000-000000000002',
    clock: systemClock,
    limits: { totalBytesMax: 16 * 1024 ** 3 },
    version: 'bench',
    log: silent,
  })
  const figures: Record<string, ReturnType<typeof figure>> = {}
  await perBatch(spool, 4, 'written')
  for (const statements of [1, 4, 16]) {
    const samples: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const empty = await emptyTurn()
      samples.push((await perBatch(spool, statements, 'written')) - empty)
    }
    figures[`batch_of_${statements}`] = figure(samples)
    figures[`statement_in_${statements}`] = figure(samples.map((sample) => sample / statements))
  }
  figures['commit_synced'] = figure([await perBatch(spool, 1, 'synced')])
  const parts = {
    bytes_330: alternatives(330, directory),
    bytes_4096: alternatives(4096, directory),
  }
  await spool.close('bench')
  process.stdout.write(`${JSON.stringify({ machine: machine(), figures, parts })}\n`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
