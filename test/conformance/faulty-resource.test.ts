/** Every engine before a resource that misbehaves on demand: each engine brings such a resource, and a client. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { engines } from '../../protocols/index.ts'
import { startEngineServer, type EngineServer } from '../fakes/engine-server.ts'
import { createFakeGate, type FakeGate } from '../fakes/gate.ts'
import { copyCertificates, type TestCertificates } from '../fakes/tls.ts'
import { eventually } from '../fakes/postgres-site.ts'
import type { ConformanceCase, ConformanceClient, FaultyUpstream } from './conformance-case.ts'
import { httpCase } from './http-case.ts'
import { postgresCase } from './postgres-case.ts'
import { sshCase } from './ssh-case.ts'

const cases: Readonly<Record<keyof typeof engines, ConformanceCase>> = {
  postgres: postgresCase,
  ssh: sshCase,
  http: httpCase,
}
const domain = 'access.localhost'
const secret = 'nobody may read this'
const limits = { upstreamConnectMs: 2_000, handshakeMs: 2_000 }

describe.each(Object.entries(cases))('the %s engine', (_name, engineCase) => {
  let certificates: TestCertificates
  let upstream: FaultyUpstream
  let gate: FakeGate
  let server: EngineServer
  const connect = (): Promise<ConformanceClient> => engineCase.connect(server, certificates)
  const session = () => gate.sessions[0]!

  beforeAll(async () => {
    certificates = await copyCertificates(domain)
  })
  afterAll(() => {
    certificates.remove()
  })
  beforeEach(async () => {
    upstream = await engineCase.startUpstream()
    gate = createFakeGate({
      upstream: {
        ...{ host: '127.0.0.1', port: upstream.port, serverName: 'x', tls: 'disable' },
        ...engineCase.upstream,
      },
      account: 'the-account',
      secret,
      ...engineCase.gate,
    })
    server = await startEngineServer({
      engine: engineCase.engine,
      gate,
      certificates,
      domain,
      limits,
      ...(engineCase.hostKeys === undefined ? {} : { hostKeys: engineCase.hostKeys }),
    })
    return async () => {
      // Nothing outlives a connection, nothing is thrown away, nothing is told twice.
      for (const each of gate.sessions) if (!each.signal.aborted) each.cut()
      await eventually(() => server.serving === 0)
      await eventually(() => upstream.open === 0)
      expect(server.crashes).toEqual([])
      for (const record of gate.records) expect(record.outcomes).toHaveLength(1)
      expect(JSON.stringify(server.logged)).not.toContain(secret)
      for (const each of gate.sessions) {
        for (const loan of each.lent) expect(() => loan.reveal()).toThrow('dropped')
      }
      await server.close()
      await upstream.close()
    }
  })

  test('nothing goes upstream before its record is committed', async () => {
    const client = await connect()
    gate.commitsHeld = true
    const running = client.run('the statement').catch(() => {})
    await eventually(() => gate.records.length === 1)
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    expect(upstream.received.includes('the statement')).toBe(false)
    gate.commitsHeld = false
    await running
    expect(upstream.received.includes('the statement')).toBe(true)
    client.destroy()
  })

  test('a cut drops what waits, tells why, cancels, and closes both sides', async () => {
    const client = await connect()
    upstream.behaviour = 'stuck'
    const running = client.run('running').catch(() => {})
    await eventually(() => upstream.received.includes('running'))
    gate.commitsHeld = true
    const waiting = client.run('waiting').catch(() => {})
    session().cut('grant-revoked', 'your grant was revoked', 'talk to your lead')
    gate.commitsHeld = false
    await Promise.all([running, waiting])
    await eventually(() => client.closed && upstream.open === 0)
    expect(client.told).toContain('your grant was revoked')
    expect(client.told).toContain('talk to your lead')
    expect(upstream.received.includes('waiting')).toBe(false)
    expect(upstream.cancelRequests).toBeGreaterThan(0)
  })

  test('the client’s own key cancels, any other does nothing', async () => {
    const client = await connect()
    upstream.behaviour = 'stuck'
    const running = client.run('running').catch(() => {})
    await eventually(() => upstream.received.includes('running'))
    await client.cancel()
    await eventually(() => upstream.cancelRequests === 1)
    gate.cancel(Buffer.alloc(8, 1))
    client.destroy()
    await running
  })

  test('a client that is gone takes its upstream with it', async () => {
    const client = await connect()
    upstream.behaviour = 'stuck'
    const running = client.run('running').catch(() => {})
    await eventually(() => upstream.received.includes('running'))
    client.destroy()
    await running
    await eventually(() => upstream.open === 0)
    expect(upstream.cancelRequests).toBeGreaterThan(0)
    expect(gate.records.at(-1)!.outcomes[0]!.status).toMatch(/unknown|cancelled/)
  })

  test.each(engineCase.loginFaults)('a resource that fails the login: %s', async (fault) => {
    upstream.behaviour = fault
    await expect(connect()).rejects.toThrow(/resource/)
    expect(session().isOpen).toBe(false)
    expect(session().ended!.reason).toBe('upstream-failed')
  })

  test.each(engineCase.answerFaults)('a resource that fails in an answer: %s', async (fault) => {
    const client = await connect()
    upstream.behaviour = fault
    await expect(client.run('the statement')).rejects.toThrow()
    await eventually(() => client.closed && upstream.open === 0)
    await eventually(() => session().ended !== undefined)
  })

  test('a client that does not read holds the resource back', async () => {
    const client = await connect()
    upstream.behaviour = 'floods'
    client.stopReading()
    const running = client.run('everything').catch(() => {})
    let before = -1
    await eventually(async () => {
      const now = upstream.flooded
      await new Promise((resolve) => {
        setTimeout(resolve, 200)
      })
      const still = now > 0 && now === before && upstream.flooded === now
      before = upstream.flooded
      return still
    }, 15_000)
    expect(upstream.flooded).toBeLessThan(32 * 1024 * 1024)
    client.destroy()
    await running
  })
})
