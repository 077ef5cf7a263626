import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { verifyControlChain } from '../integration/verify-control-chain.ts'
import { resourceNamed } from '../integration/running-control.ts'
import { follow } from '../integration/feed-client.ts'
import { createKeyAndRequest } from '../../certs/request.ts'
import { sleep, systemClock } from '../../protocols/kit/clock.ts'
import { runControl, startControlProcess, type ControlProcess } from './control-process.ts'

const directory = mkdtempSync(join(tmpdir(), 'sallyport-killed-'))
const running = new Set<ControlProcess>()
const start = async (more: Parameters<typeof startControlProcess>[0] = { directory }) => {
  const started = await startControlProcess(more)
  running.add(started)
  return started
}
afterAll(async () => {
  for (const each of running) await each.end('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

const rounds = process.env['SALLYPORT_LONG'] === '1' ? 20 : 4

test('kill -9 in the middle of grants loses none that was acknowledged, and the chain verifies', async () => {
  const acknowledged = new Map<string, number>()
  for (let round = 0; round < rounds; round += 1) {
    const control = await start()
    const api = control.openAdmin()
    if (round === 0) {
      await api.call('personCreate', { body: { email: 'dev@example.test' } })
      await api.call('resourcesApply', {
        body: { file: { resources: [resourceNamed('orders-db')] } },
      })
    }
    const before = acknowledged.size
    const state = { killed: false }
    const work = Array.from({ length: 4 }, async () => {
      while (!state.killed) {
        const made = await api.call('grantMake', {
          body: {
            person: 'dev@example.test',
            resource: 'orders-db',
            level: 'read',
            forMs: 86_400_000,
            reason: 'x',
          },
        })
        acknowledged.set(made.id, made.revision)
        const revoked = await api.call('grantRevoke', {
          params: { id: made.id },
          body: { reason: 'over' },
        })
        acknowledged.set(made.id, revoked.revision)
      }
    })
    const all = Promise.allSettled(work)
    // In the middle of it, however slow this machine is.
    await expect.poll(() => acknowledged.size - before).toBeGreaterThan(1)
    await sleep(systemClock, Math.random() * 700)
    await control.end('SIGKILL')
    state.killed = true
    await all
    api.close()
  }
  expect(acknowledged.size).toBeGreaterThan(rounds)

  const control = await start()
  const api = control.openAdmin()
  const found = new Map<string, number>()
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page: { items: { id: string; revision: number }[]; next: string | null } = await api.call(
      'grants',
      { query: { state: 'all', limit: 1_000, ...(cursor === undefined ? {} : { cursor }) } },
    )
    for (const grant of page.items) found.set(grant.id, grant.revision)
    cursor = page.next
  }
  for (const [id, revision] of acknowledged) {
    // What was not acknowledged may be there or not; never less than was.
    expect(found.get(id), id).toBeGreaterThanOrEqual(revision)
  }
  const report = await verifyControlChain(api, 'with')
  expect(report.damage).toEqual([])
  api.close()
  await control.end('SIGTERM')
})

test('SIGTERM closes feeds with 1001 and exits with 0', async () => {
  const control = await start()
  const api = control.openAdmin()
  const { token } = await api.call('joinToken', { params: { name: 'default' } })
  const [client, tls] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
  const joined = await api.call('proxyJoin', {
    body: {
      token,
      name: 'edge',
      clientRequestPem: client.requestPem,
      serverRequestPem: tls.requestPem,
    },
  })
  const feed = await follow(
    {
      url: control.url,
      authorityPem: readFileSync(join(directory, 'home', 'control-ca.pem'), 'utf8'),
    },
    { certificatePem: joined.clientCertificatePem, privateKeyPem: client.privateKeyPem },
  )
  await feed.next('heartbeat')
  api.close()
  expect(await control.end('SIGTERM')).toBe(0)
  expect(feed.closed?.code).toBe(1001)
  // No secret of the store or of a token is in what it printed.
  expect(control.output()).not.toContain(token.split('.')[1]!)
})

test('a data directory that is in use, another sealing key, and a demo’s mark are refused', async () => {
  const control = await start()
  const busy = await runControl({ directory })
  expect(busy.code).toBe(1)
  expect(busy.text).toMatch(/in use by process \d+/)
  await control.end('SIGTERM')

  const demo = await runControl({ directory, flags: ['--demo'] })
  expect(demo.code).toBe(1)
  expect(demo.text).toMatch(/real one/)

  const missing = join(directory, 'other.key')
  const environment = { SALLYPORT_SEALING_KEY_FILE: missing }
  const without = await runControl({ directory, environment })
  expect(without.text).toMatch(/does not exist/)
  writeFileSync(missing, Buffer.alloc(32, 7), { mode: 0o600 })
  const wrong = await runControl({ directory, environment })
  expect(wrong.code).toBe(1)
  expect(wrong.text).toMatch(/sealing key/)
  expect(wrong.text).not.toMatch(/at .*\.ts:\d+/)

  const unknown = await runControl({ directory, flags: ['--nonsense'] })
  expect(unknown.code).toBe(2)
})

test('data of a demo is refused by a real control', async () => {
  const own = join(directory, 'demo')
  const control = await start({ directory: own, flags: ['--demo'] })
  await control.end('SIGTERM')
  const real = await runControl({ directory: own })
  expect(real.code).toBe(1)
  expect(real.text).toMatch(/made by a demo/)
})
