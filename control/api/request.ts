/** Requests for access and what is decided about them: the API's shapes. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import { flow } from './flow.ts'
import * as names from './names.ts'
import { grant, pageQuery } from './shapes.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
const comment = text(1_000).refine(names.hasNoZero, 'must not hold a zero byte')
const forMs = z
  .int()
  .min(1_000)
  .max(30 * 86_400_000)

export const requestStates = [
  /** Waits for approvals. */
  'pending',
  /** Its grant was made (or extended). */
  'approved',
  'denied',
  'withdrawn',
  /** Nobody answered in time. */
  'expired',
] as const

export const decision = z.strictObject({
  personId: names.id,
  personEmail: names.email,
  verdict: z.enum(['approve', 'deny']),
  /** What this approver allows; null where it is what was asked for. */
  level: names.level.nullable(),
  forMs: forMs.nullable(),
  comment,
  atMs: names.timeMs,
  remoteAddress: text(64),
  /** Set on a yes that counts no more: when others decided, its giver was revoked or among the approvers no longer. */
  lapsed: z.literal(true).optional(),
})

export const accessRequest = z.strictObject({
  id: names.id,
  /** `extension`: of a live grant. */
  kind: z.enum(['access', 'extension']),
  personId: names.id,
  personEmail: names.email,
  resource: names.resourceName,
  level: names.level,
  forMs,
  reason: text(1_000),
  state: z.enum(requestStates),
  /** The flow that decides, and the version of the flows it is from. */
  flow: names.resourceName,
  flowsVersion: z.int().min(1),
  approvalsNeeded: z.int().min(0),
  /** Who may say yes or no. */
  approvers: z.strictObject({ people: z.array(names.email), groups: z.array(names.peopleGroup) }),
  decisions: z.array(decision),
  madeAtMs: names.timeMs,
  /** When it ends unanswered. */
  answerByMs: names.timeMs,
  decidedAtMs: names.timeMs.nullable(),
  /** The grant that was made, or that is to be extended. */
  grantId: names.id.nullable(),
  /** Whether the caller may decide it now. */
  mine: z.enum(['asked', 'decide', 'watch']),
})
export type AccessRequest = z.infer<typeof accessRequest>

export const requestMake = z.strictObject({
  resource: names.resourceName,
  level: names.level,
  /** Default: the flow's. */
  forMs: forMs.optional(),
  reason: comment.default(''),
})
export const requestMade = z.strictObject({
  request: accessRequest,
  /** Set where it was approved at once. */
  grant: grant.nullable(),
})
export const requestsQuery = pageQuery.extend({
  /** `decide`: those the caller may decide now; `asked`: their own; `all`: every one they may see. */
  mine: z.enum(['decide', 'asked', 'all']).default('all'),
  state: z.enum([...requestStates, 'all']).default('pending'),
})
export const requestApprove = z.strictObject({
  /** For less time, or at a lower level. */
  forMs: forMs.optional(),
  level: names.level.optional(),
  comment: comment.default(''),
})
export const requestDeny = z.strictObject({ comment: comment.min(1, 'must say why') })
export const requestWithdraw = z.strictObject({ reason: comment.default('') })
export const grantGiveBack = z.strictObject({ reason: comment.default('') })

/** An engineer's ask to move the end of their live grant, through the flow again. */
export const extensionMake = z.strictObject({ byMs: forMs, reason: comment.default('') })

/** What a person could do about one resource. */
export const why = z.strictObject({
  resource: names.resourceName,
  /** Live grants of theirs, newest first. */
  grants: z.array(grant),
  pending: z.array(accessRequest),
  /** What the flows would let them ask for. Empty also for a resource that does not exist. */
  ways: z.array(
    z.strictObject({
      level: names.level,
      flow: names.resourceName,
      approvalsNeeded: z.int().min(0),
      approvers: z.strictObject({
        people: z.array(names.email),
        groups: z.array(names.peopleGroup),
      }),
      longestMs: forMs,
      defaultMs: forMs,
      reasonRequired: z.boolean(),
    }),
  ),
})
export type Why = z.infer<typeof why>

export const flowsView = z.strictObject({
  /** 0: none were ever applied. */
  version: z.int().min(0),
  author: text(254).nullable(),
  appliedAtMs: names.timeMs.nullable(),
  flows: z.array(flow),
})
export const flowsApply = z.strictObject({
  flows: z.array(flow).max(1_000),
  dryRun: z.boolean().default(false),
  /** Refuse if the flows are not at the version that a plan was made of. */
  expectedVersion: z.int().min(0).optional(),
})
export const flowsPlan = z.strictObject({
  version: z.int().min(0),
  applied: z.boolean(),
  changes: z.array(
    z.strictObject({
      action: z.enum(['add', 'change', 'remove', 'keep']),
      name: names.resourceName,
      details: z.array(text(2_000)),
    }),
  ),
})
/** What would happen if this person asked for this; nothing is made. */
export const flowsTest = z.strictObject({
  person: names.email,
  resource: names.resourceName,
  level: names.level,
})
