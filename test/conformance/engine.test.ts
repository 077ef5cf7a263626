/** What every engine does, whatever its protocol: the contract of protocols/engine.ts and protocols/session.ts. */
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { protocolNames } from '../../protocols/activity.ts'
import { engines } from '../../protocols/index.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { drivers, exchange, type OpenClient, type Resource, type Served } from './drivers.ts'

describe.each(protocolNames)('the %s engine', (name) => {
  let resource: Resource
  let served: Served
  beforeAll(async () => {
    resource = await drivers[name].start()
  })
  afterAll(async () => {
    await resource?.stop()
  })
  beforeEach(async () => {
    served = await resource.serve()
  })
  afterEach(async () => {
    // Holds after every test: nothing goes on, nothing was thrown, nothing was told, nothing is unsettled.
    await eventually(() => served.server.serving === 0)
    expect(served.server.crashes).toEqual([])
    expect(JSON.stringify(served.server.logged)).not.toContain(resource.secret)
    for (const session of served.gate.sessions) {
      await session.closed
      // Every session ends for a reason: a cut, or what the engine said.
      expect(session.signal.aborted || session.ended !== undefined).toBe(true)
      for (const record of session.records) expect(record.outcomes).toHaveLength(1)
    }
    await served.close()
  })

  test('carries the name that it is registered by', () => {
    expect(engines[name].name).toBe(name)
    expect(engines[name].defaultPort).toBeGreaterThan(0)
  })

  test('lets in whom the gate lets in, and records what they do once', async () => {
    const client = await served.open()
    expect(await client.say('swordfish')).toContain('swordfish')
    expect(await client.say('haddock')).toContain('haddock')
    await client.leave()
    const [session] = served.gate.sessions
    await session!.closed
    expect(session!.ended!.reason).toBe('client-closed')
    expect(session!.arrival).toMatchObject({ protocol: name, remoteAddress: '127.0.0.1' })
    expect(session!.arrival.resource).toContain('orders-db')
    const said = session!.records.flatMap((record) => JSON.stringify(record))
    expect(said.filter((record) => record.includes('swordfish'))).toHaveLength(1)
    expect(said.filter((record) => record.includes('haddock'))).toHaveLength(1)
    expect(session!.records.map((record) => record.outcomes[0]!.status)).not.toContain('unknown')
  })

  test('has dropped the credential before the client is in, and never shows it', async () => {
    const client = await served.open()
    const [session] = served.gate.sessions
    expect(session!.lent).not.toEqual([])
    for (const loan of session!.lent) expect(() => loan.reveal()).toThrow('dropped')
    const answer = await client.say('hello')
    session!.cut()
    expect(answer + (await client.ended)).not.toContain(resource.secret)
    expect(JSON.stringify(session!.records)).not.toContain(resource.secret)
  })

  test('opens no session without evidence, and says what is missing', async () => {
    const { told, arrivals } = drivers[name].withoutEvidence
    expect(await served.openWithoutEvidence()).toContain(told)
    expect(served.gate.arrivals.map((arrival) => arrival.evidence.kind)).toEqual(arrivals)
    expect(served.gate.sessions).toEqual([])
  })

  test('asks the gate nothing for who goes on in the clear', async () => {
    const told = await served.openInTheClear()
    expect(told).toMatch(drivers[name].inTheClear)
    expect(served.gate.arrivals).toEqual([])
  })

  test('words a refusal for the client, and keeps what is for the operator', async () => {
    served.gate.refuse = () =>
      new SallyportError('access-denied', 'grant 17 of Mallory has ended', {
        clientMessage: 'access to "orders-db" is not granted',
        hint: 'ask an admin',
      })
    const told = await served.open().then(
      () => 'it let us in',
      (error: Error & { hint?: string }) => `${error.message} ${error.hint}`,
    )
    expect(told).toContain('access to "orders-db" is not granted')
    expect(told).toContain('ask an admin')
    expect(told).not.toMatch(/grant 17|Mallory/)
    expect(served.gate.sessions).toEqual([])
  })

  test('tells nothing of an error that nobody foresaw', async () => {
    served.gate.refuse = () => {
      throw new TypeError('cannot read properties of undefined (reading "password")')
    }
    const told = await served.open().then(() => 'it let us in', String)
    expect(told).not.toMatch(/undefined|password|it let us in/)
    expect(told).not.toContain('.ts:')
  })

  test.each(['idle', 'busy'] as const)('says why it cuts, when %s, and ends', async (state) => {
    const client = await served.open()
    await client.say('hello')
    const [session] = served.gate.sessions
    if (state === 'busy') {
      client.linger()
      await eventually(() => session!.records.length > 1)
    }
    session!.cut('grant-revoked', 'your grant was revoked', 'ask whoever revoked it')
    const told = await client.ended
    expect(told).toContain('your grant was revoked')
    expect(told).toContain('ask whoever revoked it')
    await session!.closed
  })

  test('forwards nothing after a cut', async () => {
    const client = await served.open()
    const [session] = served.gate.sessions
    session!.cut()
    const before = session!.forwardedBytes
    await client.say('too late').catch(() => undefined)
    await session!.closed
    expect(session!.forwardedBytes).toBe(before)
  })

  test('notices that its client vanished, also while the resource works', async () => {
    const client = await served.open()
    const [session] = served.gate.sessions
    client.linger()
    await eventually(() => session!.records.length > 0)
    client.vanish()
    await session!.closed
    expect(session!.ended!.reason).toBe('client-closed')
  })

  test('keeps sessions apart', async () => {
    const clients: OpenClient[] = await Promise.all(Array.from({ length: 5 }, () => served.open()))
    const answers = await Promise.all(clients.map((client, n) => client.say(`word-${n}`)))
    answers.forEach((answer, n) => expect(answer).toContain(`word-${n}`))
    served.gate.sessions[2]!.cut()
    await served.gate.sessions[2]!.closed
    const still = await Promise.allSettled(clients.map((client) => client.say('still here')))
    expect(still.filter(({ status }) => status === 'fulfilled')).toHaveLength(4)
    for (const session of served.gate.sessions) session.cut()
    await Promise.all(clients.map((client) => client.ended))
  })

  test('gives the place of a handshake back once, however it went', async () => {
    const client = await served.open()
    await client.leave()
    await served.openWithoutEvidence()
    await served.openInTheClear()
    await exchange(served.server.port, randomBytes(64))
    await eventually(() => served.server.serving === 0)
    expect(served.server.handshakesDone).toBe(4)
  })

  test('ends what begins with noise, hugeness or half a word', async () => {
    const noise = [
      ...Array.from({ length: 20 }, (_, n) => randomBytes(1 + n * 37)),
      Buffer.alloc(64, 0xff),
      Buffer.from('7fffffff00030000', 'hex'),
      Buffer.from('ffffffff04d2162f', 'hex'),
      Buffer.from('0000000004d2162f', 'hex'),
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'),
      Buffer.alloc(100_000, 0x16),
    ]
    const quick = await resource.serve({ handshakeMs: 300 })
    try {
      await Promise.all(noise.map((bytes) => exchange(quick.server.port, bytes)))
      await eventually(() => quick.server.serving === 0)
      expect(quick.server.crashes).toEqual([])
      expect(quick.gate.sessions).toEqual([])
      expect(quick.server.handshakesDone).toBe(noise.length)
    } finally {
      await quick.close()
    }
  })

  test('does not wait for ever for who says nothing', async () => {
    const quick = await resource.serve({ handshakeMs: 200 })
    try {
      const socket = connect({ port: quick.server.port, host: '127.0.0.1' })
      socket.on('error', () => {})
      socket.resume()
      await new Promise((resolve) => socket.once('close', resolve))
      await eventually(() => quick.server.serving === 0)
      expect(quick.server.handshakesDone).toBe(1)
    } finally {
      await quick.close()
    }
  })
})
