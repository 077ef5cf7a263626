/** The same random histories and the same model as in the unit test, over the real store: rows, locks, chain and feed included. */
import { randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Actor, Control } from '../../control/control.ts'
import { applyFlows } from '../../control/flows/apply-flows.ts'
import { giveBack } from '../../control/grants/give-back.ts'
import { revokeGrant } from '../../control/grants/revoke-grant.ts'
import { createPerson } from '../../control/people/create-person.ts'
import { restorePerson } from '../../control/people/restore-person.ts'
import { revokePerson } from '../../control/people/revoke-person.ts'
import { askExtension } from '../../control/requests/ask-extension.ts'
import { approveRequest, denyRequest } from '../../control/requests/decide-request.ts'
import { expireRequests } from '../../control/requests/expire-requests.ts'
import { listRequests } from '../../control/requests/list-requests.ts'
import { makeRequest } from '../../control/requests/make-request.ts'
import { withdrawRequest } from '../../control/requests/withdraw-request.ts'
import { applyResources } from '../../control/resources/apply-resources.ts'
import { resource as resourceShape } from '../../control/api/resource.ts'
import type { Level } from '../../control/api/names.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { systemClock, type Clock } from '../../protocols/kit/clock.ts'
import {
  emailOf,
  flowSets,
  history,
  levels,
  placeOf,
  resourceOf,
  what,
  who,
  type History,
  type Step,
  type What,
  type Who,
} from '../fakes/request-histories.ts'
import { RequestModel, type Seen } from '../fakes/request-model.ts'
import { startPostgresServer, type PostgresServer } from './postgres-server.ts'
import { resourceNamed, startTestControl, type RunningSite } from './running-control.ts'
import { verifyControlChain } from './verify-control-chain.ts'

const operator: Actor = { id: randomUUID(), email: 'operator@example.test', remoteAddress: '' }
const historiesEach = process.env['SALLYPORT_LONG'] === '1' ? 300 : 15

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgresServer()
})
afterAll(() => server.stop())

/** Stands still until somebody waits: an answer and the model's are of the same moment. */
const stopped: Clock & { atMs: number } = {
  atMs: Math.floor(systemClock.wallMs()),
  wallMs: () => stopped.atMs,
  monotonicMs: () => systemClock.monotonicMs(),
  startTimer: (delayMs, run) => systemClock.startTimer(delayMs, run),
}

async function createWorld(control: Control, start: History, name: string) {
  const { realm, state } = control
  const sets = flowSets(name)
  const people = new Map<Who, { id: string; active: boolean; here: boolean }>()
  for (const [index, one] of who.entries()) {
    const groups = start.groups[index]!
    const { id } = await createPerson(control, operator, {
      ...{ email: emailOf(one, name), roles: ['engineer'], groups },
    })
    people.set(one, { id, active: true, here: true })
  }
  const offer = (on: What, offered: readonly Level[]) =>
    applyResources(
      control,
      operator,
      {
        file: { resources: [resourceShape.parse(resourceWith(resourceOf(on, name), offered))] },
        dryRun: false,
        prune: false,
      },
      async () => 0,
    )
  for (const one of what) await offer(one, levels)
  const useFlows = (set: number) =>
    applyFlows(control, operator, { flows: sets[set]!, dryRun: false })
  await useFlows(0)
  /** In the order they came; the model counts them so. */
  const requests: string[] = []
  const grants: { id: string; by: Who }[] = []

  const acting = (by: Who) => {
    const { id, active, here } = people.get(by)!
    // What the server's look at the certificate does.
    if (!active || !here) throw new SallyportError('evidence-invalid', 'away')
    return { id, email: emailOf(by, name), remoteAddress: '10.0.0.1', seesAll: false }
  }
  const pick = <T>(list: T[], place: number): T => {
    const found = list[placeOf(place, list.length)]
    if (found === undefined) throw new SallyportError('not-found', 'none')
    return found
  }
  const note = async (by: Who, made: ReturnType<typeof makeRequest>): Promise<void> => {
    const { request, grant } = await made
    requests.push(request.id)
    if (grant !== null && request.kind === 'access') grants.push({ id: grant.id, by })
  }
  const take = async (step: Step): Promise<void> => {
    switch (step.do) {
      case 'wait':
        stopped.atMs += step.ms
        return
      case 'flows':
        await useFlows(step.set)
        return
      case 'join':
        await state.query('update people set groups = $3::text[] where realm = $1 and id = $2', [
          ...[realm, people.get(step.whom)!.id, step.groups],
        ])
        return
      case 'revoke-person':
      case 'restore-person': {
        const person = people.get(step.whom)!
        const change = step.do === 'revoke-person' ? revokePerson : restorePerson
        await change(control, operator, person.id, 'x')
        person.active = step.do === 'restore-person'
        return
      }
      case 'sign-out':
      case 'sign-in':
        people.get(step.whom)!.here = step.do === 'sign-in'
        return
      case 'offer':
        await offer(step.on, step.levels)
        return
      case 'ask': {
        const { by, level, forMs, reason } = step
        const resource = resourceOf(step.on, name)
        const ask = { resource, level, reason, ...(forMs === undefined ? {} : { forMs }) }
        return note(by, makeRequest(control, acting(by), ask))
      }
      case 'extend': {
        const grant = pick(grants, step.grant)
        const by = step.by === 'owner' ? grant.by : step.by
        const ask = { byMs: step.byMs, reason: 'x' }
        return note(by, askExtension(control, acting(by), grant.id, ask))
      }
      case 'approve': {
        const { by, level, forMs } = step
        const terms = {
          ...(level === undefined ? {} : { level }),
          ...(forMs === undefined ? {} : { forMs }),
        }
        const id = pick(requests, step.request)
        const after = await approveRequest(control, acting(by), id, { ...terms, comment: '' })
        const isNew = after.kind === 'access' && !grants.some((one) => one.id === after.grantId)
        if (after.state === 'approved' && isNew) {
          const [owner] = [...people].find(([, { id: each }]) => each === after.personId)!
          grants.push({ id: after.grantId!, by: owner })
        }
        return
      }
      case 'deny':
        await denyRequest(control, acting(step.by), pick(requests, step.request), 'no')
        return
      case 'withdraw':
        await withdrawRequest(control, acting(step.by), pick(requests, step.request), '')
        return
      case 'give-back': {
        const grant = pick(grants, step.grant)
        const by = step.by === 'owner' ? grant.by : step.by
        await giveBack(control, acting(by), grant.id, '')
        return
      }
      case 'revoke-grant':
        await revokeGrant(control, operator, pick(grants, step.grant).id, 'x')
    }
  }
  const seen = async (): Promise<Seen> => {
    const auditor = { id: operator.id, email: operator.email, groups: [], seesAll: true }
    const all = await listRequests(control, auditor, { limit: 1_000, mine: 'all', state: 'all' })
    const made = await state.query<Seen['grants'][number] & { id: string }>(
      `select id, person_email as by, resource as on, level, made_at_ms as "fromMs",
         expires_at_ms as "untilMs", revoked_at_ms is null and expires_at_ms > $3 as live
       from grants where realm = $1 and person_id = any($2::uuid[])`,
      [realm, [...people.values()].map(({ id }) => id), stopped.atMs],
    )
    const mine = all.items.filter(({ id }) => requests.includes(id))
    // None that the steps do not know of.
    expect(made.map(({ id }) => id).sort()).toEqual(grants.map(({ id }) => id).sort())
    return {
      requests: requests.map((id) => {
        const { state: now, decisions } = mine.find((one) => one.id === id)!
        const yes = decisions.filter(({ verdict, lapsed }) => verdict === 'approve' && !lapsed)
        return { state: now, yes: new Set(yes.map(({ personId }) => personId)).size }
      }),
      grants: grants.map(({ id }) => {
        const { id: _, ...grant } = made.find((one) => one.id === id)!
        return grant
      }),
    }
  }
  return { take, seen, sets }
}

const resourceWith = (name: string, offered: readonly Level[]) =>
  resourceNamed(name, {
    tags: { kind: name },
    levels: Object.fromEntries(
      offered.map((level) => [level, { account: level, secret: `sealed:${name}/${level}` }]),
    ),
  })

describe.each(['embedded', 'postgres'] as const)('over the %s store', (engine) => {
  let site: RunningSite
  beforeAll(async () => {
    stopped.atMs = Math.floor(systemClock.wallMs())
    site = await startTestControl({
      clock: stopped,
      ...(engine === 'embedded' ? {} : { databaseUrl: await server.createDatabase() }),
    })
  })
  afterAll(() => site.close())

  test('what happens is what the model says, step by step', async () => {
    const { control } = site.running
    let count = 0
    let granted = 0
    await fc.assert(
      fc.asyncProperty(history(40), async (life) => {
        count += 1
        const name = `-${count}`
        const { take, seen, sets } = await createWorld(control, life, name)
        const model = new RequestModel(life, sets, stopped.atMs, name)
        for (const [index, step] of life.steps.entries()) {
          const passed = await take(step).then(
            () => true,
            (error: unknown) => {
              if (!(error instanceof SallyportError) || error.code === 'internal') throw error
              return false
            },
          )
          const told = JSON.stringify({ index, step })
          expect(passed, told).toBe(model.take(step))
          if (index % 5 === 0) await expireRequests(control)
          expect(await seen(), told).toEqual(model.seen())
          model.requireKept()
        }
        granted += model.grants.length
      }),
      { numRuns: historiesEach, endOnFailure: true },
    )
    // So few histories may have few: that some have is what shows that they are no empty ones.
    expect(granted).toBeGreaterThan(0)
    stopped.atMs = Math.floor(systemClock.wallMs())
    const kept = await verifyControlChain(site.admin, 'without')
    expect(kept.damage).toEqual([])
  })
})
