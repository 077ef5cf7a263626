import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { resourceName, type Level } from '../../api/names.ts'
import type { ResourceView } from '../../api/shapes.ts'
import { refuseExpiredCertificate } from '../certificate-end.ts'
import type { Cli } from '../cli.ts'
import { findProgram } from '../find-program.ts'
import { readHome, type Home } from '../home.ts'
import { isOutage } from '../is-outage.ts'
import { levelOption } from '../options.ts'
import { psqlEnvironment, variablesRemoved } from '../psql-invocation.ts'
import { runClient } from '../run-client.ts'

/** What asking control may take before `connect` goes on without its answer. */
const askControlMs = 3_000

/** `sally connect RESOURCE [--level L] [--dbname D] [-- ARGUMENTS…]` */
export function declareConnect(command: Command, cli: Cli): void {
  command
    .argument('<resource>', 'name of the resource')
    .argument('[arguments...]', 'after --: passed on to psql as they are')
    .addOption(levelOption('which of your grants to use; the newest if left out'))
    .option('--dbname <name>', 'database; by default the resource’s tag "database"')
    .addHelpText(
      'after',
      '\nWith --json the command and its environment are printed instead of run.' +
        '\nThe exit code is the one of psql.\n\nExamples:' +
        "\n  sally connect orders-db\n  sally connect orders-db --level write -- -c 'select 1'",
    )
    .action(
      async (
        name: string,
        passedOn: string[],
        options: { level?: Level; dbname?: string },
      ): Promise<void> => {
        const home = readHome(cli.environment)
        refuseExpiredCertificate(home, cli.clock)
        const resource = readResourceName(name, home)
        const known = await askControl(cli, home, resource, options.level)
        const environment = psqlEnvironment(home, {
          resource,
          hostname: known?.hostname,
          level: options.level,
          database: options.dbname ?? known?.tags['database'],
        })
        if (cli.json) {
          cli.answer({ command: ['psql', ...passedOn], env: environment }, () => '')
          return
        }
        const inherited = { ...cli.environment }
        for (const variable of variablesRemoved) delete inherited[variable]
        const program = findProgram('psql', cli.environment) ?? throwMissing()
        cli.exitWith(await runClient(program, passedOn, { ...inherited, ...environment }))
      },
    )
}

/** A host name of the home's domain is as good as the name in front of it. */
function readResourceName(text: string, home: Home): string {
  const suffix = `.${home.config.domain}`
  const name = text.endsWith(suffix) ? text.slice(0, -suffix.length) : text
  if (resourceName.safeParse(name).success) return name
  throw new SallyportError('usage', `not a resource: ${text}`, {
    clientMessage: `${JSON.stringify(text)} cannot be the name of a resource`,
    hint: 'sally resources shows names',
  })
}

/**
 * What control says of the resource. Without control the proxy may still let people in, so an outage costs only the
 * default database; but what control does not show cannot be reached.
 */
async function askControl(
  cli: Cli,
  home: Home,
  name: string,
  level: Level | undefined,
): Promise<ResourceView | undefined> {
  const { openApi } = await import('../with-api.ts')
  const api = openApi(home, { timeoutMs: askControlMs })
  try {
    const found = await findResource(api, name)
    if (found !== undefined && (level === undefined || found.reach.includes(level))) {
      if (found.reach.length > 0) return found
    }
    const { explainNoGrant } = await import('../explain-no-grant.ts')
    throw await explainNoGrant(api, name, level)
  } catch (error) {
    if (!isOutage(error)) throw error
    cli.note(cli.paintNote('control does not answer; trying the proxy without it', 'yellow'))
    return undefined
  } finally {
    api.close()
  }
}

async function findResource(api: ApiClient, name: string): Promise<ResourceView | undefined> {
  let cursor: string | undefined
  do {
    const query = { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) }
    const page = await api.call('resources', { query })
    const found = page.items.find((resource) => resource.name === name)
    if (found !== undefined) return found
    cursor = page.next === null || page.next === cursor ? undefined : page.next
  } while (cursor !== undefined)
  return undefined
}

function throwMissing(): never {
  throw new SallyportError('client-missing', 'psql is not on PATH', {
    clientMessage: 'psql is not installed (it is not on PATH)',
    hint:
      process.platform === 'darwin'
        ? 'install it: brew install libpq && brew link --force libpq'
        : 'install it: sudo apt-get install postgresql-client (macOS: brew install libpq)',
  })
}
