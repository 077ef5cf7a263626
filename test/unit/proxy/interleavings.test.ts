import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { assert, asyncProperty, boolean, constantFrom, scheduler } from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import type { FeedEvent } from '../../../control/api/feed.ts'
import {
  createProxyWorld,
  FakeSocket,
  grantId,
  person,
  turns,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'

const directory = mkdtempSync(join(tmpdir(), 'interleavings-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const endings: Record<string, (world: ProxyWorld) => FeedEvent> = {
  grant: ({ clock }) => ({
    kind: 'grant-revoked',
    grantId,
    revision: 2,
    orderedAtMs: clock.wallMs(),
    reason: '',
  }),
  person: ({ clock }) => ({
    kind: 'person-revoked',
    personId: person,
    orderedAtMs: clock.wallMs(),
  }),
  certificate: ({ clock }) => ({
    kind: 'certificate-revoked',
    serial: 'abc1',
    orderedAtMs: clock.wallMs(),
    expiresAtMs: clock.wallMs() + 1_000,
  }),
  resource: ({ clock }) => ({
    kind: 'resource-removed',
    name: 'orders-db',
    orderedAtMs: clock.wallMs(),
  }),
}

/**
 * Whatever order control's answer, the feed, the revocation, the disk and the engine's own steps come in: once the
 * revocation is applied, nobody gets in, nobody is in, and not a byte goes upstream.
 */
it('a revocation wins against an admission at every point', async () => {
  await assert(
    asyncProperty(
      scheduler(),
      constantFrom(...Object.keys(endings)),
      boolean(),
      boolean(),
      boolean(),
      async (order, ending, isCached, isLease, isLate) => {
        const world = await createProxyWorld({ stateDirectory: directory })
        const token = await world.grantToken()
        if (isCached) await world.feed({ kind: 'grant', token })
        await world.freshness.renew(await world.lease())
        // `isLate`: control's answer names a position that the feed has yet to reach.
        const position = world.view.position + (isLate ? 1 : 0)
        let isRevoked = false
        let bytesAtRevocation = 0
        const written = (): number =>
          world.dialled.reduce((sum, socket) => sum + Buffer.concat(socket.written).length, 0)

        world.control.answer = () =>
          order.schedule(
            Promise.resolve(
              isLease
                ? ({ kind: 'unreachable', why: 'test' } as const)
                : ({ kind: 'confirmed', token, position } as const),
            ),
            'control answers',
          )
        world.spool.commit = () => order.schedule(Promise.resolve(), 'the disk has it')
        const revocation = order
          .schedule(Promise.resolve(), 'the revocation arrives')
          .then(() => world.feed(endings[ending]!(world)))
          .then(() => {
            isRevoked = true
            bytesAtRevocation = written()
          })

        let wentIn = false
        let wentInAfterwards = false
        const engine = (async () => {
          const session = await world.admit()
          const downstream = new FakeSocket()
          session.attach(downstream.socket)
          try {
            const upstream = await session.connect()
            await order.schedule(Promise.resolve(), 'connected')
            const { secret } = await session.borrow()
            secret.drop()
            await order.schedule(Promise.resolve(), 'logged in')
            session.opened(() => undefined)
            // From the check to telling the client there is no await: this is the moment.
            if (isRevoked) wentInAfterwards = true
            wentIn = true
            for (let index = 0; index < 5; index++) {
              await order.schedule(Promise.resolve(), 'a statement')
              session.forward(upstream, Buffer.from('x'))
            }
            // A live session would go on; here its end must come from the cut alone.
            if (!session.signal.aborted) {
              await new Promise((resolve) => session.signal.addEventListener('abort', resolve))
            }
          } finally {
            await session[Symbol.asyncDispose]()
          }
        })().catch(() => undefined)

        const state = { isOver: false }
        const all = Promise.all([engine, revocation]).then(() => (state.isOver = true))
        for (let step = 0; step < 2_000 && !state.isOver; step++) {
          await turns(2)
          if (order.count() > 0) {
            await order.waitOne()
          } else {
            // Signatures are verified off the loop: the test's clock waits for them.
            await sleep(1)
            if (order.count() === 0) world.clock.advance(25)
          }
        }
        expect(state.isOver).toBe(true)
        await all
        expect(wentInAfterwards).toBe(false)
        world.stopWatching()
        expect(written()).toBe(bytesAtRevocation)
        expect(world.registry.size).toBe(0)
        if (wentIn) {
          expect(world.spool.events.some((event) => event.type === 'session-cut')).toBe(true)
          expect(world.spool.events.some((event) => event.type === 'session-closed')).toBe(true)
        }
      },
    ),
    { numRuns: process.env['SALLYPORT_LONG'] === '1' ? 3_000 : 100 },
  )
}, 60_000)
