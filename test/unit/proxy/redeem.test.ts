import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cut } from '../../../protocols/session.ts'
import type { Confirmation } from '../../../proxy/control-link/confirmations.ts'
import { advanceUntil, createProxyWorld, person, type ProxyWorld } from '../../fakes/proxy-world.ts'

const tokenId = '66666666-6666-4666-8666-666666666666'
const token = `sp1_${'x'.repeat(32)}`

let world: ProxyWorld
beforeEach(async () => {
  world = await createProxyWorld()
})
afterEach(() => world.close())

const shown = (changes: object = {}, text = token) => ({
  evidence: { kind: 'token' as const, token: text },
  ...changes,
})

/** Control takes the token, and names a grant that the feed has brought. */
async function takeToken(level?: 'read' | 'write'): Promise<void> {
  const grant = await world.grantToken({ level: level ?? 'read' })
  await world.feed({ kind: 'grant', token: grant })
  const issuedAtMs = world.clock.wallMs()
  world.control.answer = () =>
    Promise.resolve({
      kind: 'confirmed',
      token: grant,
      position: world.view.position,
      redeemed: {
        ...{ tokenId, personId: person, personEmail: 'dev@example.test', issuedAtMs },
        ...(level === undefined ? {} : { level }),
      },
    })
}

async function refusal(changes: object = {}, text = token) {
  const startedMs = world.clock.monotonicMs()
  const error = await advanceUntil(
    world,
    world.admit(shown(changes, text)).then(
      () => undefined,
      (thrown: unknown) => thrown as SallyportError,
    ),
  )
  if (error === undefined) throw new Error('was admitted')
  const { code, clientMessage, hint, message } = error
  return { code, clientMessage, hint, why: message, afterMs: world.clock.monotonicMs() - startedMs }
}

describe('a connect token', () => {
  it('opens a session in one question, which holds its digest and never itself', async () => {
    await takeToken('write')
    const session = await world.admit(shown())
    expect(world.control.asked).toHaveLength(1)
    expect(world.control.asked[0]).toMatchObject({
      connectToken: { digest: expect.stringMatching(/^[0-9a-f]{64}$/), remoteAddress: '127.0.0.1' },
      resource: 'orders-db',
      wanted: '',
    })
    expect(session.labels).toMatchObject({ personId: person, level: 'write' })
    expect(world.spool.events).toMatchObject([
      { type: 'session-opened', meta: { evidence: 'token', certificateSerial: tokenId } },
    ])
    expect(JSON.stringify([world.control.asked, world.spool.events, session.labels])).not.toContain(
      token,
    )
  })

  it('asks with the person whom the login name says, or the level', async () => {
    await takeToken()
    await world.admit(shown({ wanted: 'dev@example.test' }))
    expect(world.control.asked[0]).toMatchObject({
      connectToken: { personEmail: 'dev@example.test' },
      wanted: '',
    })
    await world.admit(shown({ wanted: 'read' }))
    expect(world.control.asked[1]!.wanted).toBe('read')
    expect(world.control.asked[1]!.connectToken).not.toHaveProperty('personEmail')
  })

  it('is refused in the same words and time, whatever the cause', async () => {
    const denied = (why: string): Confirmation => ({ kind: 'denied', why, position: 0 })
    const answers: Confirmation[] = [
      denied('token-unknown'),
      denied('token-used'),
      denied('person-revoked'),
      denied('no-grant'),
      denied('error'),
      { kind: 'unreachable', why: 'the link to control is down' },
    ]
    const seen = []
    for (const answer of answers) {
      world.control.answer = () => Promise.resolve(answer)
      seen.push(await refusal())
    }
    seen.push(await refusal({}, 'correct horse'), await refusal({ resource: '_' }))
    world.drainNow()
    seen.push(await refusal())
    for (const { why, ...told } of seen) {
      const { why: _, ...first } = seen[0]!
      expect(told).toEqual(first)
      expect(why).not.toContain(token)
    }
    expect(seen[0]).toMatchObject({ code: 'token-refused', afterMs: 250 })
    expect(world.dialled).toHaveLength(0)
    // Strangers are for the log.
    expect(world.spool.events).toEqual([])
  })

  it('is not used up by a proxy that takes no sessions', async () => {
    await takeToken()
    world.spool.isRefusing = true
    expect((await refusal()).code).toBe('token-refused')
    expect(world.control.asked).toEqual([])
  })

  it('is no good if control does not say whose it is', async () => {
    await world.confirmGrant()
    expect((await refusal()).code).toBe('token-refused')
  })

  it('is not looked at where an address guesses, and is elsewhere', async () => {
    world.control.answer = () =>
      Promise.resolve({ kind: 'denied', why: 'token-unknown', position: 0 })
    for (let count = 0; count < 95; count++) await refusal()
    const asked = world.control.asked.length
    expect(await refusal()).toMatchObject({ code: 'rate-limited', afterMs: 250 })
    expect(world.control.asked).toHaveLength(asked)
    await takeToken()
    await world.admit(shown({ remoteAddress: '192.0.2.9' }))
  })

  it('cuts its session when it is revoked', async () => {
    await takeToken()
    const session = await world.admit(shown())
    const atMs = world.clock.wallMs()
    await world.feed({
      kind: 'certificate-revoked',
      serial: tokenId,
      orderedAtMs: atMs,
      expiresAtMs: atMs + 1_000,
    })
    expect(session.signal.reason as Cut).toMatchObject({
      reason: 'certificate-revoked',
      message: 'your connect token was revoked',
    })
  })

  it('made before its person was revoked and restored lets nobody in', async () => {
    await takeToken()
    world.clock.advance(1_000)
    await world.feed({ kind: 'person-restored', personId: person, atMs: world.clock.wallMs() })
    expect((await refusal()).clientMessage).toBe('your connect token was revoked')
  })
})
