import { readFileSync, statSync } from 'node:fs'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { InvalidInput } from '../../api/problem.ts'
import type { ResourcesPlan } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { confirm } from '../prompt.ts'
import { readInput } from '../read-input.ts'
import { placeIssues, readResourcesFile, resourcesFileBytesMax } from '../read-resources-file.ts'
import { withApi } from '../with-api.ts'

interface ApplyOptions {
  dryRun?: boolean
  yes?: boolean
  prune?: boolean
}

/** `sally apply FILE [--dry-run] [--yes] [--prune]` */
export function declareApply(command: Command, cli: Cli): void {
  command
    .argument('<file>', 'resources in YAML; - reads standard input')
    .option('--dry-run', 'only say what would change')
    .option('--yes', 'do not ask')
    .option('--prune', 'also remove resources that the file does not name')
    .action(async (fileName: string, options: ApplyOptions) => {
      const text = fileName === '-' ? await readInput(resourcesFileBytesMax) : readFile(fileName)
      const file = readResourcesFile(text, fileName)
      const prune = options.prune === true
      await withApi(cli, async ({ api, progress }) => {
        const call = async (body: { dryRun: boolean; expectedVersion?: number }) => {
          try {
            return await api.call('resourcesApply', { body: { file, prune, ...body } })
          } catch (error) {
            if (!(error instanceof InvalidInput)) throw error
            const code = error.code === 'config-invalid' ? error.code : 'request-invalid'
            throw new InvalidInput(code, error.clientMessage, placeIssues(text, error.issues))
          }
        }
        progress.update('making a plan')
        const plan = await call({ dryRun: true })
        progress.end()
        const changes = plan.changes.filter(({ action }) => action !== 'keep')
        if (options.dryRun === true || changes.length === 0) {
          cli.answer(plan, () => showPlan(cli, plan))
          return
        }
        if (options.yes !== true) {
          cli.writeError(cli.json ? '' : `${showPlan(cli, plan)}\n`)
          await ask(cli)
        }
        const applied = await call({ dryRun: false, expectedVersion: plan.version })
        cli.answer(applied, () =>
          options.yes === true
            ? `${showPlan(cli, applied)}\napplied`
            : `applied: ${changes.length} changed`,
        )
      })
    })
}

function readFile(fileName: string): string {
  if (statSync(fileName).size > resourcesFileBytesMax) {
    throw new SallyportError('usage', `${fileName} is too large`, {
      clientMessage: `${fileName} is larger than ${resourcesFileBytesMax} bytes`,
    })
  }
  return readFileSync(fileName, 'utf8')
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

function showPlan(cli: Cli, plan: ResourcesPlan): string {
  const lines: string[] = []
  const counts = { add: 0, change: 0, remove: 0, keep: 0 }
  let cut = 0
  for (const { action, name, details, sessionsAffected } of plan.changes) {
    counts[action] += 1
    cut += sessionsAffected
    if (action === 'keep') continue
    const [mark, style] = marks[action]
    const sessions = sessionsAffected > 0 ? ` (cuts ${sessionsAffected} live sessions)` : ''
    lines.push(cli.paint(`${mark} ${printable(name)}${sessions}`, style))
    for (const detail of details) lines.push(`    ${printable(detail)}`)
  }
  const changed = counts.add + counts.change + counts.remove
  if (changed === 0) return `nothing to change: ${counts.keep} resources are as the file says`
  lines.push(
    `${counts.add} to add, ${counts.change} to change, ${counts.remove} to remove, ${counts.keep} as they are`,
  )
  if (cut > 0) lines.push(cli.paint(`${cut} live sessions would be cut`, 'red'))
  return lines.join('\n')
}
