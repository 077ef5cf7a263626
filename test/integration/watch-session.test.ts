/** Following a session: everything once, in order, with its outcome; and one reading on record for each watch. */
import { describe, expect, test } from 'vitest'
import { watchQuery } from '../../control/api/shapes.ts'
import { encodeCursor } from '../../control/audit/cursor.ts'
import { createWatches } from '../../control/audit/watches.ts'
import type { ControlAction } from '../../control/server/handlers.ts'
import { auditFixture, engines } from './audit-fixture.ts'
import { createFakeProxy } from './audit-proxy.ts'

const personId = '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1aaa'
const otherId = '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1abb'

describe.each(engines)('a watch over a %s store', (engine) => {
  const audit = auditFixture(engine)

  /** The route as an auditor calls it, over a chain of actions in memory. */
  function openWatches(who = personId) {
    const actions: (ControlAction & { actor: string; atMs: number })[] = []
    const stopping = new AbortController()
    const watch = createWatches({
      context: audit.context,
      readAction: (number) => Promise.resolve(actions[number - 1]),
      stopping: stopping.signal,
    })
    const caller = {
      kind: 'person',
      id: who,
      email: 'auditor@example.test',
      name: '',
      roles: ['auditor'],
      groups: [],
      createdAtMs: 0,
      via: 'certificate' as const,
      certificate: { serial: '1', expiresAtMs: 1 },
      login: null,
    } as const
    const asWho = (id: string) => ({
      realm: 'default',
      requestId: 'r',
      remoteAddress: '::1',
      caller: { ...caller, id },
      audit: (action: ControlAction) =>
        Promise.resolve(actions.push({ ...action, actor: id, atMs: audit.context.clock.wallMs() })),
    })
    const ask = (session: string, query: Record<string, unknown> = {}, id = who) =>
      watch(asWho(id), {
        params: { id: session },
        query: watchQuery.parse(query),
        body: undefined,
        binaryBody: Buffer.alloc(0),
        header: () => undefined,
      })
    return { ask, actions, stopping }
  }

  test('shows what was done in order, again once it has its outcome, and ends with the session', async () => {
    const { ask, actions } = openWatches()
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    const other = epoch.opened()
    const slow = epoch.statement(id, 'select slow')
    epoch.statement(other, 'select not mine')
    epoch.outcome(id, epoch.statement(id, 'select quick'))
    const one = epoch.batch()
    epoch.outcome(id, slow, { rows: 7 })
    epoch.outcome(id, epoch.statement(id, 'select last'))
    epoch.statement(id, 'select unsettled')
    const two = epoch.batch()
    epoch.closed(id, { reason: 'client-closed' })
    const three = epoch.batch()

    await audit.ship(epoch, one)
    await audit.indexer.idle()
    const first = await ask(id)
    expect(first.session).toMatchObject({ id, state: 'live', level: 'read' })
    expect(first.items).toMatchObject([
      { text: 'select slow', level: 'read', outcome: null },
      { text: 'select quick', outcome: { status: 'ok' } },
    ])
    const nothing = await ask(id, { cursor: first.next })
    expect(nothing).toMatchObject({ items: [], ended: false })

    await audit.ship(epoch, two)
    await audit.indexer.idle()
    const second = await ask(id, { cursor: nothing.next })
    expect(second.items).toMatchObject([
      { text: 'select slow', outcome: { status: 'ok', rows: 7 } },
      { text: 'select last', outcome: { status: 'ok' } },
      { text: 'select unsettled', outcome: null },
    ])
    // Closed, and not all of it indexed yet: it goes on.
    await audit.ship(epoch, three)
    expect(await ask(id, { cursor: second.next })).toMatchObject({ items: [], ended: false })
    await audit.indexer.idle()
    const end = await ask(id, { cursor: second.next })
    expect(end).toMatchObject({
      items: [],
      ended: true,
      session: { state: 'closed', endReason: 'client-closed' },
    })
    // However often it asked, it was one reading.
    expect(actions).toMatchObject([{ action: 'audit.watched', target: id }])
  })

  test('pages come to everything once, also of a session that is over', async () => {
    const { ask } = openWatches()
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    for (let index = 0; index < 25; index += 1) {
      epoch.outcome(id, epoch.statement(id, `select ${index}`))
    }
    epoch.closed(id)
    await audit.ship(epoch, epoch.batch())
    await audit.indexer.idle()
    const seen: string[] = []
    for (let cursor: string | undefined; ;) {
      const page = await ask(id, { limit: 4, ...(cursor === undefined ? {} : { cursor }) })
      seen.push(...page.items.map(({ text }) => text))
      if (page.ended) break
      cursor = page.next
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `select ${index}`))
  })

  test('more running statements than it remembers wait for the earlier ones, and none is lost', async () => {
    const { ask } = openWatches()
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    const running = Array.from({ length: 130 }, (_, index) => epoch.statement(id, `run ${index}`))
    await audit.ship(epoch, epoch.batch())
    await audit.indexer.idle()
    const first = await ask(id, { limit: 1_000 })
    expect(first.items).toHaveLength(100)
    expect((await ask(id, { cursor: first.next })).items).toHaveLength(0)
    for (const sequence of running) epoch.outcome(id, sequence)
    await audit.ship(epoch, epoch.batch())
    await audit.indexer.idle()
    const second = await ask(id, { cursor: first.next, limit: 1_000 })
    const settled = second.items.filter(({ outcome }) => outcome !== null)
    expect(new Set(settled.map(({ text }) => text)).size).toBe(130)
  })

  test('waits for what comes, no longer than asked, and not while control stops', async () => {
    const { ask, stopping } = openWatches()
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    await audit.ship(epoch, epoch.batch())
    const { next } = await ask(id)
    const waits = ask(id, { cursor: next, waitMs: 5_000 })
    epoch.statement(id, 'select now')
    await audit.ship(epoch, epoch.batch())
    await audit.indexer.idle()
    const advance = async <T>(pending: Promise<T>): Promise<T> => {
      const state = { done: false }
      const finish = (): void => void (state.done = true)
      void pending.then(finish, finish)
      while (!state.done) {
        audit.clock.advance(50)
        await new Promise((resolve) => setImmediate(resolve))
      }
      return pending
    }
    const came = await advance(waits)
    expect(came.items).toMatchObject([{ text: 'select now' }])
    expect((await advance(ask(id, { cursor: came.next, waitMs: 300 }))).items).toEqual([])
    const stopped = ask(id, { cursor: came.next, waitMs: 10_000 })
    stopping.abort()
    expect((await stopped).items).toEqual([])
  })

  test('a cursor that was made up, taken from somebody or is of another session reads nothing', async () => {
    const { ask, actions } = openWatches()
    const epoch = createFakeProxy().startEpoch()
    epoch.started()
    const id = epoch.opened()
    const second = epoch.opened()
    epoch.outcome(id, epoch.statement(id, 'select secret'))
    await audit.ship(epoch, epoch.batch())
    await audit.indexer.idle()
    const refused = { code: 'request-invalid' }
    const made = (reading: number) =>
      encodeCursor({ reading, after: 0, afterUs: 0, open: [], last: null })
    await expect(ask(id, { cursor: made(1) })).rejects.toMatchObject(refused)
    actions.push({
      ...{ action: 'audit.read', target: id, details: {} },
      ...{ actor: personId, atMs: audit.context.clock.wallMs() },
    })
    await expect(ask(id, { cursor: made(1) })).rejects.toMatchObject(refused)
    const mine = await ask(id)
    await expect(ask(second, { cursor: mine.next })).rejects.toMatchObject(refused)
    await expect(ask(id, { cursor: mine.next }, otherId)).rejects.toMatchObject(refused)
    // Their own record lets them begin again from the start: it is the same reading.
    expect((await ask(id, { cursor: made(2) })).items).toHaveLength(1)
    audit.clock.advance(25 * 3_600_000)
    await expect(ask(id, { cursor: mine.next })).rejects.toMatchObject(refused)
    await expect(ask('00000000-0000-4000-8000-000000000000')).rejects.toMatchObject({
      code: 'not-found',
    })
    expect(actions).toHaveLength(2)
  })
})
