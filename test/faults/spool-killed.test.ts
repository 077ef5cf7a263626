/** The audit of a process that is killed at random moments, again and again, over one spool. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { decodeBatches, payloadFields } from '../../control/api/audit/decode.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import { decodeActivity } from '../../protocols/activity.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { createShipper } from '../../proxy/audit/shipper.ts'
import type { Durability } from '../../proxy/audit/spool-types.ts'
import { auditKeys, proxyId, proxySigner } from '../unit/audit-bundle.ts'
import { FakeControl } from '../unit/fake-audit-control.ts'

const key = Buffer.alloc(32, 3)
const kills = process.env['SALLYPORT_LONG'] === '1' ? 30 : 20
const log = { debug() {}, info() {}, warn() {}, error() {} }

/** Runs a writer, kills it, and answers which statements it forwarded. */
async function killedWriter(
  directory: string,
  first: number,
  durability: Durability,
): Promise<number[]> {
  const path = join(import.meta.dirname, 'spool-writer.ts')
  const child = spawn(
    process.execPath,
    [path, directory, key.toString('hex'), String(first), durability],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let output = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text: string) => {
    if (output === '') setTimeout(() => child.kill('SIGKILL'), Math.random() * 150)
    output += text
  })
  const code = await new Promise((resolve) => child.on('close', (_code, signal) => resolve(signal)))
  expect(code).toBe('SIGKILL')
  return output.split('\n').slice(1, -1).map(Number)
}

test(`every statement that was forwarded before one of ${kills} kills is in the audit, once`, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-killed-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const forwarded: number[] = []
  for (let kill = 0; kill < kills; kill += 1) {
    const durability = kill % 4 === 3 ? 'synced' : 'written'
    forwarded.push(...(await killedWriter(directory, kill * 1_000_000, durability)))
  }
  expect(forwarded.length).toBeGreaterThan(kills)
  const spool = await openSpool({
    directory,
    key,
    proxyId,
    clock: systemClock,
    version: 'test',
    log,
  })
  const control = new FakeControl()
  const shipper = createShipper({
    outbox: spool.outbox,
    store: control,
    signer: proxySigner,
    realm: 'default',
    proxyId,
    clock: systemClock,
    log,
  })
  expect(await shipper.flush(systemClock.monotonicMs() + 60_000)).toBe(true)
  await shipper.close()
  await spool.close('test')

  const report = await verifySegments(control.segments, auditKeys)
  expect(report.damage).toEqual([])
  expect(report.chains[0]!.epochs).toHaveLength(kills + 1)
  expect(control.quarantined).toEqual([])
  const recorded = new Map<number, number>()
  for (const { batches } of control.segments) {
    for (const batch of decodeBatches(Buffer.from(batches, 'base64'))) {
      for (const entry of batch.entries) {
        if (entry.type !== 'activity') continue
        const number = Number(decodeActivity(payloadFields(entry)!).text.split(' ')[0])
        recorded.set(number, (recorded.get(number) ?? 0) + 1)
      }
    }
  }
  expect(forwarded.filter((number) => recorded.get(number) !== 1)).toEqual([])
  expect([...recorded.values()].every((count) => count === 1)).toBe(true)
})
