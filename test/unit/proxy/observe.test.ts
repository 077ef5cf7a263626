import { afterAll, describe, expect, it } from 'vitest'
import { Writable } from 'node:stream'
import { Secret } from '../../../protocols/kit/secret.ts'
import { openHealthServer } from '../../../proxy/observe/health-server.ts'
import { createLog } from '../../../proxy/observe/log.ts'
import { createMetrics } from '../../../proxy/observe/metrics.ts'
import { readinessChecks, type ReadinessParts } from '../../../proxy/observe/readiness.ts'
import { silentLog } from '../../fakes/proxy-world.ts'

describe('the log', () => {
  it('strikes out what may be secret, wherever it is', () => {
    let text = ''
    const log = createLog(
      'info',
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          text += chunk.toString()
          done()
        },
      }),
    )
    log.info(
      {
        password: 'hunter2',
        deep: { token: 'hunter2', deeper: { privateKeyPem: 'hunter2' } },
        statement: 'select hunter2',
        value: new Secret('hunter2'),
        resource: 'orders-db',
      },
      'said',
    )
    expect(text).not.toContain('hunter2')
    expect(text).toContain('orders-db')
    log.debug({}, 'unsaid')
    expect(text).not.toContain('unsaid')
  })
})

const metrics = createMetrics({
  sessions: () => ({ postgres: 3, ssh: 0, http: 0 }),
  connections: () => 4,
  handshakes: () => 1,
  signIns: () => 3,
  leaseAgeMs: () => 1_500,
  feedPosition: () => 42,
  shortcomings: () => ({ postgres: undefined, ssh: 'something' }),
  clockSkewMs: () => -250,
  policy: () => ({ taken: 2, failed: 1, isBehind: true }),
  linkUp: () => true,
  spool: () => ({
    bytes: 1,
    bytesMax: 2,
    entries: 3,
    commitUs: 4,
    syncUs: 5,
    syncs: 6,
    batches: 7,
  }),
  shippingLagMs: () => 2_000,
})

describe('the metrics', () => {
  it('say what is', async () => {
    metrics.opened('postgres')
    metrics.refused('postgres', 'access-denied')
    metrics.reported('http', 'request')
    metrics.reported('http', 'request')
    metrics.webSockets(3)
    metrics.webSockets(-1)
    metrics.cut('postgres', 'grant-expired', 12)
    metrics.ended('postgres', 'grant-expired')
    const text = await metrics.text()
    for (const line of [
      'sallyport_proxy_sessions{protocol="postgres"} 3',
      'sallyport_proxy_sessions_opened_total{protocol="postgres"} 1',
      'sallyport_proxy_refused_total{protocol="postgres",code="access-denied"} 1',
      'sallyport_proxy_cut_seconds_bucket{le="0.025",protocol="postgres",reason="grant-expired"} 1',
      'sallyport_proxy_activities_total{protocol="http",kind="request"} 2',
      'sallyport_proxy_web_sockets 2',
      'sallyport_proxy_degraded{protocol="postgres"} 0',
      'sallyport_proxy_degraded{protocol="ssh"} 1',
      'sallyport_proxy_feed_age_seconds 1.5',
      'sallyport_proxy_feed_position 42',
      'sallyport_proxy_policy_reloads_total{outcome="taken"} 2',
      'sallyport_proxy_policy_reloads_total{outcome="failed"} 1',
      'sallyport_proxy_policy_behind 1',
      'sallyport_proxy_clock_skew_seconds -0.25',
      'sallyport_proxy_shipping_lag_seconds 2',
    ]) {
      expect(text).toContain(`${line}\n`)
    }
    expect(text).toMatch(/nodejs_eventloop_lag_seconds/)
  })
})

describe('the health server', () => {
  let ready = true
  const opening = openHealthServer({
    host: '127.0.0.1',
    port: 0,
    isAlive: () => ({ process: { ok: true, detail: 'runs' } }),
    isReady: () => ({ spool: { ok: ready, detail: 'test' } }),
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.text() }),
    log: silentLog,
  })
  afterAll(async () => (await opening).close())

  it('tells the truth in its status', async () => {
    const base = `http://127.0.0.1:${(await opening).port}`
    const status = async (path: string, method = 'GET') =>
      (await fetch(`${base}${path}`, { method })).status
    expect(await status('/readyz')).toBe(200)
    ready = false
    expect(await status('/readyz')).toBe(503)
    expect(await (await fetch(`${base}/readyz`)).json()).toEqual({
      ok: false,
      checks: { spool: { ok: false, detail: 'test' } },
    })
    expect(await status('/healthz')).toBe(200)
    expect(await status('/metrics')).toBe(200)
    expect(await status('/other')).toBe(404)
    expect(await status('/metrics', 'POST')).toBe(405)
  })

  it.each(['0.0.0.0', '::', '10.0.0.1', '127.evil.test', 'example.test'])(
    'refuses to listen on %s',
    async (host) => {
      const { port: _, ...parts } = await opening
      await expect(
        openHealthServer({
          ...parts,
          host,
          port: 0,
          isAlive: () => ({}),
          isReady: () => ({}),
          metrics: () => Promise.resolve({ contentType: '', text: '' }),
          log: silentLog,
        }),
      ).rejects.toMatchObject({ code: 'config-invalid' })
    },
  )
})

describe('readiness', () => {
  const parts = (changes: object = {}): ReadinessParts =>
    ({
      control: {
        view: { position: 3 },
        link: { state: 'up' },
        freshness: { leaseAgeMs: () => 1 },
      },
      spool: { refusing: false, failure: undefined },
      listeners: [{ port: 1, isListening: true, close() {} }],
      isDraining: false,
      stateFailure: undefined,
      ...changes,
    }) as unknown as ReadinessParts
  const failing = (changes: object): string[] =>
    Object.entries(readinessChecks(parts(changes)))
      .filter(([, check]) => !check.ok)
      .map(([name]) => name)

  it('needs a view, a writable spool and state, listeners, and no drain', () => {
    expect(failing({})).toEqual([])
    const control = parts().control
    expect(failing({ control: { ...control, link: { state: 'away' } } })).toEqual([])
    expect(failing({ control: { ...control, link: { state: 'refused' } } })).toEqual(['feed'])
    expect(failing({ control: { ...control, view: { position: 0 } } })).toEqual(['feed'])
    expect(failing({ spool: { refusing: true } })).toEqual(['spool'])
    expect(failing({ stateFailure: new Error('x') })).toEqual(['state'])
    expect(failing({ listeners: [{ port: 1, isListening: false }] })).toEqual(['listeners'])
    expect(failing({ isDraining: true })).toEqual(['draining'])
  })
})
