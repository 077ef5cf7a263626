import type { Command } from 'commander'
import { applyPlan, type ApplyOptions } from '../apply-plan.ts'
import type { Cli } from '../cli.ts'
import { readFlowsFile } from '../read-flows-file.ts'
import { readText } from '../read-text.ts'
import { yamlFileBytesMax } from '../read-yaml-file.ts'
import { withApi } from '../with-api.ts'

/** `sally flows apply FILE [--dry-run] [--yes]` */
export function declareFlowsApply(command: Command, cli: Cli): void {
  command
    .argument('<file>', 'all flows in YAML; - reads standard input')
    .option('--dry-run', 'only say what would change')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      '\nThe file holds all flows: one that it does not name is removed. Requests that wait keep the flow' +
        '\nthey were made under. Example:\n' +
        '\n  flows:' +
        '\n    - name: write-by-leads' +
        '\n      who: { groups: [engineers] }' +
        '\n      resources: { tags: { environment: production } }' +
        '\n      levels: [write]' +
        '\n      duration: { longest: 2h, default: 1h }' +
        '\n      approval: { kind: people, count: 1, from: { groups: [leads] } }',
    )
    .action(async (fileName: string, options: ApplyOptions) => {
      const text = await readText(fileName, yamlFileBytesMax)
      const { flows } = readFlowsFile(text, fileName)
      await withApi(cli, async ({ api, progress }) => {
        progress.update('making a plan')
        await applyPlan(cli, options, {
          what: 'flows',
          text,
          call: (body) => api.call('flowsApply', { body: { flows, ...body } }),
          planned: () => progress.end(),
        })
      })
      if (options.dryRun !== true) {
        cli.note(
          cli.paintNote(
            'try it: sally flows test PERSON RESOURCE --level LEVEL says what they would have to do',
            'dim',
          ),
        )
      }
    })
}
