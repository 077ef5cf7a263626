/** The core that decides, over a store that is nothing but maps, beside the model: five thousand random histories. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Flow } from '../../../control/api/flow.ts'
import type { Level } from '../../../control/api/names.ts'
import {
  approversSoFar,
  stateAt,
  type KeptRequest,
} from '../../../control/requests/access-request.ts'
import { askForAccess, askForExtension, type Offered } from '../../../control/requests/ask.ts'
import { approve, deny, expire, withdraw } from '../../../control/requests/decide.ts'
import { outcomeOf } from '../../../control/requests/outcome.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
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
  type Who,
} from '../../fakes/request-histories.ts'
import { RequestModel, type Seen } from '../../fakes/request-model.ts'

const startMs = 1_700_000_000_000
const sets = flowSets()

interface Grant {
  by: string
  on: string
  level: Level
  fromMs: number
  expiresAtMs: number
  revokedAtMs: number | null
}

/** Rows without a database: each step reads them, asks the core, and writes what it rows. */
function createRows(start: History) {
  let atMs = startMs
  let flows: { version: number; flows: Flow[] } = { version: 1, flows: sets[0]! }
  const people = new Map(
    who.map((name, index) => {
      const person = { id: name, email: emailOf(name), groups: start.groups[index]! }
      return [name, { ...person, active: true, here: true, remoteAddress: '10.0.0.1' }]
    }),
  )
  const resources = new Map<string, Offered>(
    what.map((name) => [name, resourceWith(name, [...levels])]),
  )
  const requests: KeptRequest[] = []
  const grants: Grant[] = []

  const acting = (name: (typeof who)[number]) => {
    const person = people.get(name)!
    if (!person.active || !person.here) throw new SallyportError('not-allowed', 'away')
    return person
  }
  const write = (request: KeptRequest, index: number): void => {
    const before = requests[index]
    let kept = request
    if (request.state === 'approved' && before?.state !== 'approved') {
      const grant = request.kind === 'extension' ? grants[Number(request.grantId)] : undefined
      const outcome = outcomeOf(request, {
        person: [...people.values()].find(({ id }) => id === request.personId)!,
        resource: resources.get(request.resource),
        grant,
        atMs,
      })
      if (grant === undefined) {
        kept = { ...request, grantId: String(grants.length) }
        grants.push({
          ...{ by: request.personEmail, on: request.resource, level: outcome.level, fromMs: atMs },
          ...{ expiresAtMs: outcome.expiresAtMs, revokedAtMs: null },
        })
      } else {
        grant.expiresAtMs = outcome.expiresAtMs
      }
    }
    requests[index] = kept
  }
  const enter = (request: KeptRequest): void => {
    const waits = requests.some(
      (one) =>
        stateAt(one, atMs) === 'pending' &&
        one.personId === request.personId &&
        one.kind === request.kind &&
        one.resource === request.resource &&
        one.level === request.level &&
        one.grantId === request.grantId,
    )
    if (waits && request.state === 'pending') throw new SallyportError('conflict', 'twice')
    write(request, requests.length)
  }
  const pick = (list: readonly unknown[], place: number): number => {
    if (list.length === 0) throw new SallyportError('not-found', 'none')
    return placeOf(place, list.length)
  }
  const isLive = (grant: Grant): boolean => grant.revokedAtMs === null && grant.expiresAtMs > atMs
  const end = (grant: Grant): void => {
    if (grant.revokedAtMs !== null) return
    if (!isLive(grant)) throw new SallyportError('conflict', 'ended')
    grant.revokedAtMs = atMs
  }

  const take = (step: Step): void => {
    switch (step.do) {
      case 'wait':
        atMs += step.ms
        return
      case 'flows':
        flows = { version: flows.version + 1, flows: sets[step.set]! }
        return
      case 'join':
        people.get(step.whom)!.groups = step.groups
        return
      case 'revoke-person':
      case 'restore-person':
        people.get(step.whom)!.active = step.do === 'restore-person'
        return
      case 'sign-out':
      case 'sign-in':
        people.get(step.whom)!.here = step.do === 'sign-in'
        return
      case 'offer': {
        resources.set(step.on, resourceWith(step.on, step.levels))
        const ended = grants.filter(
          ({ on, level }) => on === step.on && !step.levels.includes(level),
        )
        for (const grant of ended) if (isLive(grant)) end(grant)
        return
      }
      case 'ask': {
        const { level, forMs, reason } = step
        const ask = { resource: step.on, level, reason, ...(forMs === undefined ? {} : { forMs }) }
        const made = { id: String(requests.length), atMs }
        enter(askForAccess(flows, acting(step.by), resources.get(step.on), ask, made))
        return
      }
      case 'extend': {
        const index = pick(grants, step.grant)
        const grant = grants[index]!
        const by = whoIs(step.by, grant)
        if (grant.by !== emailOf(by) || !isLive(grant)) {
          throw new SallyportError('not-found', 'not theirs, or over')
        }
        const ask = { byMs: step.byMs, reason: 'x' }
        const held = { ...grant, id: String(index) }
        const made = { id: String(requests.length), atMs }
        const resource = resources.get(grant.on)!
        enter(askForExtension(flows, acting(by), resource, held, ask, made))
        return
      }
      case 'approve': {
        const index = pick(requests, step.request)
        const { level, forMs } = step
        const less = {
          ...(level === undefined ? {} : { level }),
          ...(forMs === undefined ? {} : { forMs }),
        }
        const rows = new Map([...people.values()].map((one) => [one.id as string, one]))
        const terms = { ...less, comment: '' }
        write(approve(requests[index]!, acting(step.by), terms, atMs, rows), index)
        return
      }
      case 'deny': {
        const index = pick(requests, step.request)
        write(deny(requests[index]!, acting(step.by), 'no', atMs), index)
        return
      }
      case 'withdraw': {
        const index = pick(requests, step.request)
        write(withdraw(requests[index]!, acting(step.by).id, atMs), index)
        return
      }
      case 'give-back': {
        const grant = grants[pick(grants, step.grant)]!
        if (acting(whoIs(step.by, grant)).email !== grant.by)
          throw new SallyportError('not-found', 'another’s')
        end(grant)
        return
      }
      case 'revoke-grant':
        end(grants[pick(grants, step.grant)]!)
    }
  }
  return {
    take,
    /** What control does by itself, at any moment: it must change nothing that anybody sees. */
    sweep(): void {
      requests.forEach((request, index) => {
        requests[index] = expire(request, atMs) ?? request
      })
    },
    seen: (): Seen => ({
      requests: requests.map((request) => ({
        state: stateAt(request, atMs),
        yes: approversSoFar(request).size,
      })),
      grants: grants.map((grant) => ({
        ...{ by: grant.by, on: grant.on, level: grant.level, fromMs: grant.fromMs },
        ...{ untilMs: grant.expiresAtMs, live: isLive(grant) },
      })),
    }),
  }
}

const whoIs = (by: Who | 'owner', grant: Grant): Who =>
  by === 'owner' ? who.find((name) => emailOf(name) === grant.by)! : by

function resourceWith(name: (typeof what)[number], offered: readonly Level[]): Offered {
  return {
    name: resourceOf(name),
    tags: { kind: resourceOf(name) },
    levels: Object.fromEntries(offered.map((level) => [level, {}])),
  }
}

test('five thousand histories: no grant without its approvals, none longer or higher, none after its end', () => {
  let [granted, refused, extended, byTwo] = [0, 0, 0, 0]
  fc.assert(
    fc.property(history(60), (life) => {
      const rows = createRows(life)
      const model = new RequestModel(life, sets, startMs)
      life.steps.forEach((step, index) => {
        let passed = true
        try {
          rows.take(step)
        } catch (error) {
          if (!(error instanceof SallyportError)) throw error
          passed = false
        }
        const expected = model.take(step)
        if (index % 3 === 0) rows.sweep()
        // As texts first: a comparison of values that can show a difference takes ten times as long.
        const [mine, its] = [JSON.stringify(rows.seen()), JSON.stringify(model.seen())]
        if (passed !== expected || mine !== its) {
          const told = JSON.stringify({ index, step })
          expect(passed, told).toBe(expected)
          expect(rows.seen(), told).toEqual(model.seen())
        }
        model.requireKept()
        if (!passed) refused += 1
      })
      granted += model.grants.length
      byTwo += model.grants.filter(({ because }) => because[0]!.yes.length > 1).length
      extended += model.grants.filter(({ because }) => because.length > 1).length
    }),
    { numRuns: 5_000 },
  )
  // Histories in which nothing happens would prove nothing.
  expect(granted).toBeGreaterThan(2_000)
  expect(byTwo).toBeGreaterThan(200)
  expect(extended).toBeGreaterThan(200)
  expect(refused).toBeGreaterThan(5_000)
}, 60_000)
