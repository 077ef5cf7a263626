import type { Command } from 'commander'
import type { Level } from '../../api/names.ts'
import type { Cli } from '../cli.ts'
import { exitCodes } from '../exit-codes.ts'
import { levelOption } from '../options.ts'
import { printable } from '../printable.ts'
import { showWays } from '../show-ways.ts'
import { withApi } from '../with-api.ts'

/** `sally flows test PERSON RESOURCE --level L` */
export function declareFlowsTest(command: Command, cli: Cli): void {
  command
    .argument('<person>', 'e-mail address')
    .argument('<resource>', 'name of the resource')
    .addOption(levelOption('what they would ask for').makeOptionMandatory())
    .addHelpText(
      'after',
      '\nNothing is asked for: it says which flow would decide. The exit code is 1 if none would.',
    )
    .action(async (person: string, resource: string, options: { level: Level }) => {
      const body = { person, resource, level: options.level }
      const tested = await withApi(cli, ({ api }) => api.call('flowsTest', { body }))
      const ways = tested.ways.filter(({ level }) => level === options.level)
      const ask = `${printable(person)}: ${options.level} on ${printable(resource)}`
      cli.answer(tested, () =>
        ways.length === 0 ? `${ask}: no flow lets them ask` : `${ask}\n${showWays(cli, ways)}`,
      )
      if (ways.length === 0) cli.exitWith(exitCodes.negative)
    })
}
