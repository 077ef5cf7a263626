/**
 * A small model of requests and grants, written from what was promised and not from the code: it keeps what was said and when, and
 * works everything else out anew each time it is asked.
 */
import { parseDuration } from '../../control/api/duration.ts'
import type { Flow } from '../../control/api/flow.ts'
import type { Level } from '../../control/api/names.ts'
import {
  emailOf,
  levels,
  placeOf,
  resourceOf,
  what,
  who,
  type History,
  type Step,
  type What,
  type Who,
} from './request-histories.ts'

interface Yes {
  by: Who
  level: Level
  forMs: number
  /** Counts no more: when somebody else decided, they could not have said it any more. */
  lapsed?: true
}
interface Asked {
  by: Who
  on: What
  level: Level
  forMs: number
  flow: Flow
  atMs: number
  extends: number | undefined
  yes: Yes[]
  no: Who | undefined
  withdrawn: boolean
}
interface Held {
  by: Who
  on: What
  level: Level
  fromMs: number
  untilMs: number
  stopped: boolean
  /** Why it may be: the request, and those for more time. */
  because: Asked[]
}

/** What anybody can see, to be compared with what the code makes of the same history. */
export interface Seen {
  requests: { state: string; yes: number }[]
  grants: { by: string; on: string; level: Level; fromMs: number; untilMs: number; live: boolean }[]
}

const counting = ({ yes }: Asked): Yes[] => yes.filter(({ lapsed }) => lapsed !== true)
const rank = (level: Level): number => levels.indexOf(level)
const lower = (one: Level, other: Level): Level => (rank(one) < rank(other) ? one : other)

export class RequestModel {
  nowMs: number
  private readonly name: string
  private readonly sets: Flow[][]
  private flows: Flow[]
  private readonly people = new Map<Who, { groups: string[]; active: boolean; here: boolean }>()
  private readonly offered = new Map<What, Set<Level>>()
  readonly requests: Asked[] = []
  readonly grants: Held[] = []

  constructor(start: History, sets: Flow[][], nowMs: number, name = '') {
    this.sets = sets
    this.flows = sets[0]!
    this.nowMs = nowMs
    this.name = name
    who.forEach((person, index) =>
      this.people.set(person, { groups: start.groups[index]!, active: true, here: true }),
    )
    for (const resource of what) this.offered.set(resource, new Set(levels))
  }

  /** Whether it is let through. What is refused changes nothing. */
  take(step: Step): boolean {
    switch (step.do) {
      case 'wait':
        this.nowMs += step.ms
        return true
      case 'flows':
        this.flows = this.sets[step.set]!
        return true
      case 'join':
        this.people.get(step.whom)!.groups = step.groups
        return true
      case 'revoke-person':
      case 'restore-person':
        this.people.get(step.whom)!.active = step.do === 'restore-person'
        return true
      case 'sign-out':
      case 'sign-in':
        this.people.get(step.whom)!.here = step.do === 'sign-in'
        return true
      case 'offer':
        this.offered.set(step.on, new Set(step.levels))
        for (const grant of this.grants) {
          if (grant.on === step.on && !step.levels.includes(grant.level) && this.isLive(grant)) {
            grant.stopped = true
          }
        }
        return true
      case 'ask':
        return this.ask(step.by, step.on, step.level, step.forMs, step.reason, undefined)
      case 'extend': {
        const index = placeOf(step.grant, this.grants.length)
        const grant = this.grants[index]
        const by = step.by === 'owner' ? grant?.by : step.by
        if (grant === undefined || grant.by !== by || !this.isLive(grant)) return false
        return this.ask(by, grant.on, grant.level, step.byMs, 'x', index)
      }
      case 'approve':
      case 'deny':
      case 'withdraw':
        return this.decide(step)
      case 'give-back':
      case 'revoke-grant': {
        const grant = this.grants[placeOf(step.grant, this.grants.length)]
        if (grant === undefined) return false
        if (step.do === 'give-back') {
          const by = step.by === 'owner' ? grant.by : step.by
          if (grant.by !== by || !this.mayAct(by)) return false
        }
        if (!grant.stopped && !this.isLive(grant)) return false
        grant.stopped = true
        return true
      }
    }
  }

  seen(): Seen {
    return {
      requests: this.requests.map((asked) => ({
        state: this.stateOf(asked),
        yes: counting(asked).length,
      })),
      grants: this.grants.map((grant) => ({
        by: emailOf(grant.by, this.name),
        on: resourceOf(grant.on, this.name),
        level: grant.level,
        fromMs: grant.fromMs,
        untilMs: grant.untilMs,
        live: this.isLive(grant),
      })),
    }
  }

  /** What was promised, of every grant: said again without the steps above. Throws what is broken. */
  requireKept(): void {
    for (const grant of this.grants) {
      for (const asked of grant.because) {
        const { approval } = asked.flow
        const wanted = approval.kind === 'automatic' ? 0 : approval.count
        const others = new Set(counting(asked).map(({ by }) => by))
        others.delete(asked.by)
        if (others.size < wanted) throw new Error('a grant without its approvals')
        if (asked.no !== undefined || asked.withdrawn) throw new Error('a grant against a no')
        if (asked.by !== grant.by) throw new Error('a grant for somebody else')
        if (!asked.flow.levels.includes(asked.level) || rank(grant.level) > rank(asked.level)) {
          throw new Error('a grant that is higher than allowed')
        }
        for (const yes of counting(asked)) {
          if (asked.extends === undefined && rank(grant.level) > rank(yes.level)) {
            throw new Error('a grant that is higher than an approver allowed')
          }
        }
      }
      const [first, ...more] = grant.because
      const allowed = [first!, ...more].reduce(
        (sum, asked) => sum + Math.min(asked.forMs, ...counting(asked).map((one) => one.forMs)),
        0,
      )
      if (grant.untilMs - grant.fromMs > allowed) throw new Error('a grant longer than allowed')
      const longest = Math.max(
        ...grant.because.map(({ flow }) => parseDuration(flow.duration.longest)),
      )
      if (grant.untilMs - this.nowMs > longest) throw new Error('a grant further than its flow')
      if (this.isLive(grant) && this.nowMs >= grant.untilMs) throw new Error('alive after its end')
    }
  }

  private mayAct(person: Who): boolean {
    const { active, here } = this.people.get(person)!
    return active && here
  }

  private isLive(grant: Held): boolean {
    return !grant.stopped && this.nowMs < grant.untilMs
  }

  private isNamed({ people, groups }: Flow['who'], person: Who): boolean {
    const mine = this.people.get(person)!.groups
    return people.includes(emailOf(person, this.name)) || mine.some((one) => groups.includes(one))
  }

  private stateOf(asked: Asked): string {
    if (asked.withdrawn) return 'withdrawn'
    if (asked.no !== undefined) return 'denied'
    const { approval, unansweredAfter } = asked.flow
    if (counting(asked).length >= (approval.kind === 'automatic' ? 0 : approval.count))
      return 'approved'
    return this.nowMs >= asked.atMs + parseDuration(unansweredAfter) ? 'expired' : 'pending'
  }

  private flowFor(person: Who, resource: What, level: Level, aheadMs?: number): Flow | undefined {
    const name = resourceOf(resource, this.name)
    const needs = ({ approval }: Flow): number =>
      approval.kind === 'automatic' ? 0 : approval.count
    const fitting = this.flows
      .filter(({ levels: given }) => given.includes(level))
      .filter((flow) => this.isNamed(flow.who, person))
      .filter(({ resources: { names, tags } }) => {
        const kinds = tags === undefined ? [name] : Object.values(tags)
        return (names ?? [name]).includes(name) && kinds.includes(name)
      })
      .filter(({ duration }) => (aheadMs ?? 0) <= parseDuration(duration.longest))
    const least = Math.min(...fitting.map(needs))
    return fitting.find((flow) => needs(flow) === least)
  }

  private ask(
    by: Who,
    on: What,
    level: Level,
    forMs: number | undefined,
    reason: string,
    extended: number | undefined,
  ): boolean {
    if (!this.mayAct(by) || !this.offered.get(on)!.has(level)) return false
    const grant = extended === undefined ? undefined : this.grants[extended]!
    const heldMs = grant === undefined ? 0 : grant.untilMs - this.nowMs
    const flow = this.flowFor(by, on, level, forMs === undefined ? undefined : heldMs + forMs)
    if (flow === undefined || (flow.reasonRequired && reason === '')) return false
    const { longest, default: usual } = flow.duration
    const wantedMs = forMs ?? parseDuration(usual ?? longest)
    const asked: Asked = {
      ...{ by, on, level, forMs: wantedMs, flow, atMs: this.nowMs, extends: extended },
      ...{ yes: [], no: undefined, withdrawn: false },
    }
    const twice = this.requests.some(
      (other) =>
        this.stateOf(other) === 'pending' &&
        other.by === by &&
        other.on === on &&
        other.level === level &&
        other.extends === extended,
    )
    const waits = this.stateOf(asked) === 'pending'
    if (waits && twice) return false
    this.requests.push(asked)
    if (!waits) this.bring(asked)
    return true
  }

  private decide(step: Step & { do: 'approve' | 'deny' | 'withdraw' }): boolean {
    const asked = this.requests[placeOf(step.request, this.requests.length)]
    if (asked === undefined || !this.mayAct(step.by)) return false
    const state = this.stateOf(asked)
    if (step.do === 'withdraw') {
      if (asked.by !== step.by || (state !== 'pending' && state !== 'withdrawn')) return false
      asked.withdrawn = true
      return true
    }
    const { approval } = asked.flow
    if (asked.by === step.by || approval.kind === 'automatic') return false
    if (!this.isNamed(approval.from, step.by)) return false
    if (step.do === 'deny') {
      if (state === 'denied' && asked.no === step.by) return true
      if (state !== 'pending') return false
      asked.no = step.by
      return true
    }
    const before = counting(asked).some(({ by }) => by === step.by)
    if (before && (state === 'pending' || state === 'approved')) return true
    if (state !== 'pending') return false
    if (
      step.level !== undefined &&
      (asked.extends !== undefined || rank(step.level) > rank(asked.level))
    ) {
      return false
    }
    if (step.forMs !== undefined && step.forMs > asked.forMs) return false
    const yes = { by: step.by, level: step.level ?? asked.level, forMs: step.forMs ?? asked.forMs }
    const kept = asked.yes.map((one): Yes => {
      const { active } = this.people.get(one.by)!
      return active && this.isNamed(approval.from, one.by) ? one : { ...one, lapsed: true }
    })
    const after = { ...asked, yes: [...kept, yes] }
    if (counting(after).length === approval.count && !this.canBring(after)) return false
    asked.yes = after.yes
    if (this.stateOf(asked) === 'approved') this.bring(asked)
    return true
  }

  private agreed(asked: Asked): Omit<Yes, 'by'> {
    const all = counting(asked)
    return {
      level: all.map((yes) => yes.level).reduce(lower, asked.level),
      forMs: Math.min(asked.forMs, ...all.map((yes) => yes.forMs)),
    }
  }

  private canBring(asked: Asked): boolean {
    if (!this.people.get(asked.by)!.active || !this.isNamed(asked.flow.who, asked.by)) return false
    if (!this.offered.get(asked.on)!.has(this.agreed(asked).level)) return false
    if (asked.extends === undefined) return true
    const grant = this.grants[asked.extends]!
    const furthestMs = this.nowMs + parseDuration(asked.flow.duration.longest)
    return this.isLive(grant) && grant.untilMs < furthestMs
  }

  private bring(asked: Asked): void {
    const { level, forMs } = this.agreed(asked)
    if (asked.extends !== undefined) {
      const grant = this.grants[asked.extends]!
      const furthestMs = this.nowMs + parseDuration(asked.flow.duration.longest)
      grant.untilMs = Math.min(grant.untilMs + forMs, furthestMs)
      grant.because.push(asked)
      return
    }
    this.grants.push({
      ...{ by: asked.by, on: asked.on, level, fromMs: this.nowMs, untilMs: this.nowMs + forMs },
      ...{ stopped: false, because: [asked] },
    })
  }
}
