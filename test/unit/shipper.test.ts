import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { decodeBatches } from '../../control/api/audit/decode.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { createShipper, type Shipper } from '../../proxy/audit/shipper.ts'
import type { AuditStore } from '../../proxy/audit/ship-parcel.ts'
import type { Spool } from '../../proxy/audit/spool-types.ts'
import { createTestClock } from '../test-clock.ts'
import { auditKeys, proxyId, proxySigner } from './audit-bundle.ts'
import { FakeControl } from './fake-audit-control.ts'
import {
  filesOf,
  openTestSpool,
  sessionId,
  silentLog,
  statement,
  temporaryDirectory,
  sessionIn,
} from './spool-fixture.ts'

function shipperOf(spool: Spool, store: AuditStore, clock = systemClock): Shipper {
  return createShipper({
    outbox: spool.outbox,
    store,
    signer: proxySigner,
    realm: 'default',
    proxyId,
    clock,
    log: silentLog,
    random: () => 0.5,
  })
}

async function append(spool: Spool, count: number, bytes = 100): Promise<void> {
  const session = sessionIn(spool)
  for (let index = 0; index < count; index += 1) {
    spool.appendActivity(session, statement(`${index} ${'x'.repeat(bytes)}`))
    await spool.commitNow('written')
  }
}

const flush = (shipper: Shipper): Promise<boolean> =>
  shipper.flush(systemClock.monotonicMs() + 5_000)

describe('shipping', () => {
  test('brings every batch to control once, in order, signed, while more is written', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const control = new FakeControl()
    const shipper = shipperOf(spool, control)
    await append(spool, 300)
    await expect.poll(() => control.entries()).toBe(302)
    expect(control.requests).toBeLessThan(50)
    const report = await verifySegments(control.segments, auditKeys)
    expect(report.damage).toEqual([])
    expect(report.chains[0]!.epochs[0]).toMatchObject({ lastBatch: 301, headSignedByProxy: true })
    expect(shipper.figures()).toMatchObject({ behind: 0, lagMs: 0, failures: 0 })
    await shipper.close()
    await spool.close('test')
  })

  test('asks for about a megabyte at a time', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    await append(spool, 200, 30_000)
    const control = new FakeControl()
    const shipper = shipperOf(spool, control)
    expect(await flush(shipper)).toBe(true)
    expect(control.entries()).toBe(202)
    expect(control.requests).toBeGreaterThanOrEqual(5)
    expect(control.requests).toBeLessThan(20)
    await shipper.close()
    await spool.close('test')
  })

  test('keeps everything while control is away, backs off, and sends it after', async () => {
    const clock = createTestClock()
    const spool = await openTestSpool(temporaryDirectory())
    const control = new FakeControl()
    control.refuseWith = 'control-unreachable'
    const shipper = shipperOf(spool, control, clock)
    await append(spool, 10)
    const tries: number[] = []
    for (let second = 0; second < 60; second += 1) {
      const before = control.requests
      for (let part = 0; part < 20; part += 1) {
        clock.advance(50)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      tries.push(control.requests - before)
    }
    expect(tries[0]).toBeGreaterThan(1)
    expect(tries.slice(30).reduce((sum, count) => sum + count, 0)).toBeLessThan(6)
    expect(shipper.figures()).toMatchObject({ behind: 11, lastError: 'control-unreachable' })
    expect(shipper.figures().lagMs).toBeGreaterThan(50_000)
    control.refuseWith = undefined
    for (let part = 0; part < 400 && control.entries() < 12; part += 1) {
      clock.advance(50)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(control.entries()).toBe(12)
    await shipper.close()
    await spool.close('test')
  }, 30_000)

  test('a lost answer sends the same again, and control has it once', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const control = new FakeControl()
    control.loseAnswer = true
    const shipper = shipperOf(spool, control)
    await append(spool, 5)
    await expect.poll(() => shipper.figures().behind).toBe(0)
    expect(control.entries()).toBe(7)
    expect((await verifySegments(control.segments, auditKeys)).damage).toEqual([])
    expect(control.requests).toBeGreaterThan(1)
    await shipper.close()
    await spool.close('test')
  })

  test('after a gap it sends from the batch that control expects', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const control = new FakeControl()
    const shipper = shipperOf(spool, control)
    await append(spool, 5)
    expect(await flush(shipper)).toBe(true)
    // Control came back from a backup.
    control.batches.set(spool.epoch, control.batches.get(spool.epoch)!.slice(0, 2))
    control.segments.length = 0
    await append(spool, 5)
    expect(await flush(shipper)).toBe(true)
    expect(control.log.at(-1)).toBe('3-11')
    await shipper.close()
    await spool.close('test')
  })

  test('what control refuses for good goes to its quarantine, and the rest goes on', async () => {
    const directory = temporaryDirectory()
    const first = await openTestSpool(directory)
    await append(first, 3)
    const spool = await openTestSpool(directory)
    const control = new FakeControl()
    const store: AuditStore = {
      storeSegments(bytes, checkpoint) {
        if (decodeBatches(bytes)[0]!.epoch === first.epoch) {
          throw new SallyportError('audit-corrupt', 'control does not like it')
        }
        return control.storeSegments(bytes, checkpoint)
      },
      storeBlob: (part) => control.storeBlob(part),
      quarantine: (bytes, why) => control.quarantine(bytes, why),
    }
    const shipper = shipperOf(spool, store)
    expect(await flush(shipper)).toBe(true)
    expect(control.quarantined).toEqual(['refused by control: control does not like it'])
    expect(control.entries()).toBe(1)
    expect(filesOf(directory, '.segment')).toHaveLength(1)
    await shipper.close()
    await spool.close('test')
  })

  test('old epochs go first, damage goes to quarantine', async () => {
    const directory = temporaryDirectory()
    const epochs: string[] = []
    for (let boot = 0; boot < 3; boot += 1) {
      const spool = await openTestSpool(directory)
      epochs.push(spool.epoch)
      await append(spool, 3)
    }
    const spool = await openTestSpool(directory)
    epochs.push(spool.epoch)
    const control = new FakeControl()
    const shipper = shipperOf(spool, control)
    expect(await flush(shipper)).toBe(true)
    expect([...control.batches.keys()]).toEqual(epochs)
    const report = await verifySegments(control.segments, auditKeys)
    expect(report.damage).toEqual([])
    expect(filesOf(directory, '.segment')).toHaveLength(1)
    await shipper.close()
    await spool.close('test')
  })

  test('a blob goes in parts before the batch that names it', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    const control = new FakeControl()
    const session = sessionIn(spool, 'synced')
    const blob = spool.spill(session)
    const digest = createHash('sha256')
    const piece = Buffer.alloc(1 << 20, 'abcdefg')
    for (let count = 0; count < 19; count += 1) {
      blob.write(piece)
      digest.update(piece)
    }
    const reference = blob.finish()
    spool.appendActivity(session, {
      kind: 'statement',
      encode: (fields) => fields.blob('textBlob', reference),
    })
    await spool.commitNow('synced')
    const shipper = shipperOf(spool, control)
    expect(await flush(shipper)).toBe(true)
    expect(control.log).toEqual(['blob', 'blob', 'blob', '1-2'])
    const sha256 = digest.digest('hex')
    let offset = 0
    for (const part of control.blobs) {
      expect(part).toMatchObject({ sha256, sessionId, offset, total: 19 << 20 })
      expect(part.bytes.length).toBeLessThanOrEqual(8 << 20)
      offset += part.bytes.length
    }
    expect(offset).toBe(19 << 20)
    expect(filesOf(directory, '.blob')).toEqual([])
    await shipper.close()
    await spool.close('test')
  })

  test('flush gives up at its deadline', async () => {
    const spool = await openTestSpool(temporaryDirectory())
    const control = new FakeControl()
    control.refuseWith = 'control-unreachable'
    const shipper = shipperOf(spool, control)
    expect(await shipper.flush(systemClock.monotonicMs() + 300)).toBe(false)
    await shipper.close()
    await spool.close('test')
  })

  test('what was acknowledged is not shipped again after a clean stop', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    await append(spool, 3)
    const control = new FakeControl()
    const shipper = shipperOf(spool, control)
    await spool.close('test')
    expect(await flush(shipper)).toBe(true)
    await shipper.close()
    const again = await openTestSpool(directory)
    const next = shipperOf(again, control)
    expect(await flush(next)).toBe(true)
    expect(control.log).toEqual(['1-5', '1-1'])
    await next.close()
    await again.close('test')
  })
})
