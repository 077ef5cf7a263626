/**
 * Appends statements until it is killed, and says on its standard output which ones it forwarded: one number a line, written
 * with one call, as an upstream would have received them. Arguments: directory, key (hex), first number, durability.
 */
import { randomUUID } from 'node:crypto'
import { writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { newOutcome } from '../../protocols/activity.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import type { Durability } from '../../proxy/audit/spool-types.ts'
import { createForwarder } from '../../proxy/audit/forwarder.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import { sessionOpened } from '../fakes/session-opened.ts'

const [directory, key, first, durability] = process.argv.slice(2)
const log = { debug() {}, info() {}, warn() {}, error() {} }
const spool = await openSpool({
  directory: directory!,
  key: Buffer.from(key!, 'hex'),
  proxyId: '11111111-1111-4111-8111-111111111111',
  clock: systemClock,
  limits: { segmentBytes: 64 * 1024 },
  version: 'test',
  log,
})
const session = createSpoolSession(randomUUID(), durability as Durability)
spool.appendEvent('session-opened', session.sessionId, {
  ...sessionOpened,
  durability: session.durability,
})
await spool.commitNow('synced')
writeSync(1, 'ready\n')

const upstream = new Writable({
  write(chunk: Buffer, _encoding, done) {
    writeSync(1, chunk)
    done()
  },
})
const forwarder = createForwarder(spool, session, {
  durability: session.durability,
  queueBytesMax: 1 << 20,
  onDrain: () => undefined,
  onFailure: () => undefined,
})
let number = Number(first)

function turn(): void {
  for (let count = 1 + (number % 5); count > 0; count -= 1) {
    const text = `${number} ${'x'.repeat(number % 300)}`
    const id = spool.appendActivity(session, {
      kind: 'statement',
      encode: (fields) => fields.utf8('text', text),
    })
    forwarder.forward(upstream, Buffer.from(`${number}\n`))
    if (number % 3 === 0) {
      spool.appendOutcome(session, id, newOutcome({ rows: number, bytesUp: 1, bytesDown: 1 }))
    }
    number += 1
  }
  setImmediate(turn)
}
turn()
