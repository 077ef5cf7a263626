/** What `sally apply` and `sally flows apply` share: a plan is made, shown, agreed to, and only then applied. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import { InvalidInput } from '../api/problem.ts'
import type { Cli } from './cli.ts'
import { printable } from './printable.ts'
import { confirm } from './prompt.ts'
import { placeIssues } from './read-yaml-file.ts'

export interface ApplyOptions {
  dryRun?: boolean
  yes?: boolean
}

export interface Plan {
  readonly version: number
  readonly changes: readonly {
    readonly action: 'add' | 'change' | 'remove' | 'keep'
    readonly name: string
    readonly details: readonly string[]
    /** Live sessions that the change would cut. */
    readonly sessionsAffected?: number
  }[]
}

export interface Applying<P extends Plan> {
  /** "resources": what the plan changes. */
  readonly what: string
  /** The file, to find control's issues in. */
  readonly text: string
  call(body: { dryRun: boolean; expectedVersion?: number }): Promise<P>
  /** The plan is there: whatever showed progress makes room. */
  planned(): void
}

export async function applyPlan<P extends Plan>(
  cli: Cli,
  options: ApplyOptions,
  applying: Applying<P>,
): Promise<void> {
  const call = async (body: { dryRun: boolean; expectedVersion?: number }): Promise<P> => {
    try {
      return await applying.call(body)
    } catch (error) {
      if (!(error instanceof InvalidInput)) throw error
      const code = error.code === 'config-invalid' ? error.code : 'request-invalid'
      throw new InvalidInput(code, error.clientMessage, placeIssues(applying.text, error.issues))
    }
  }
  const plan = await call({ dryRun: true })
  applying.planned()
  const changes = plan.changes.filter(({ action }) => action !== 'keep')
  if (options.dryRun === true || changes.length === 0) {
    cli.answer(plan, () => showPlan(cli, plan, applying.what))
    return
  }
  if (options.yes !== true) {
    cli.writeError(cli.json ? '' : `${showPlan(cli, plan, applying.what)}\n`)
    await ask(cli)
  }
  const applied = await call({ dryRun: false, expectedVersion: plan.version })
  cli.answer(applied, () =>
    options.yes === true
      ? `${showPlan(cli, applied, applying.what)}\napplied`
      : `applied: ${changes.length} changed`,
  )
}

async function ask(cli: Cli): Promise<void> {
  if (!cli.interactive || cli.json) {
    throw new SallyportError('usage', 'apply needs --yes', {
      clientMessage: 'nothing was changed: without a terminal there is nobody to ask',
      hint: 'look at the plan with --dry-run, then add --yes',
    })
  }
  if (!(await confirm(cli, 'apply this?'))) {
    throw new SallyportError('usage', 'not confirmed', { clientMessage: 'nothing was changed' })
  }
}

const marks = { add: ['+', 'green'], change: ['~', 'yellow'], remove: ['-', 'red'] } as const

function showPlan(cli: Cli, plan: Plan, what: string): string {
  const lines: string[] = []
  const counts = { add: 0, change: 0, remove: 0, keep: 0 }
  let cut = 0
  for (const { action, name, details, sessionsAffected = 0 } of plan.changes) {
    counts[action] += 1
    cut += sessionsAffected
    if (action === 'keep') continue
    const [mark, style] = marks[action]
    const sessions = sessionsAffected > 0 ? ` (cuts ${sessionsAffected} live sessions)` : ''
    lines.push(cli.paint(`${mark} ${printable(name)}${sessions}`, style))
    for (const detail of details) lines.push(`    ${printable(detail)}`)
  }
  const changed = counts.add + counts.change + counts.remove
  if (changed === 0) return `nothing to change: ${counts.keep} ${what} are as the file says`
  lines.push(
    `${counts.add} to add, ${counts.change} to change, ${counts.remove} to remove, ${counts.keep} as they are`,
  )
  if (cut > 0) lines.push(cli.paint(`${cut} live sessions would be cut`, 'red'))
  return lines.join('\n')
}
