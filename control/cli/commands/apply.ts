import type { Command } from 'commander'
import { applyPlan, type ApplyOptions } from '../apply-plan.ts'
import type { Cli } from '../cli.ts'
import { readResourcesFile } from '../read-resources-file.ts'
import { readText } from '../read-text.ts'
import { yamlFileBytesMax } from '../read-yaml-file.ts'
import { withApi } from '../with-api.ts'

/** `sally apply FILE [--dry-run] [--yes] [--prune]` */
export function declareApply(command: Command, cli: Cli): void {
  command
    .argument('<file>', 'resources in YAML; - reads standard input')
    .option('--dry-run', 'only say what would change')
    .option('--yes', 'do not ask')
    .option('--prune', 'also remove resources that the file does not name')
    .action(async (fileName: string, options: ApplyOptions & { prune?: boolean }) => {
      const text = await readText(fileName, yamlFileBytesMax)
      const file = readResourcesFile(text, fileName)
      const prune = options.prune === true
      await withApi(cli, async ({ api, progress }) => {
        progress.update('making a plan')
        await applyPlan(cli, options, {
          what: 'resources',
          text,
          call: (body) => api.call('resourcesApply', { body: { file, prune, ...body } }),
          planned: () => progress.end(),
        })
      })
    })
}
