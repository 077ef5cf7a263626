import { Option, type Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { resourceName, type Level } from '../../api/names.ts'
import { protocolNames } from '../../api/activity.ts'
import type { ResourceView } from '../../api/shapes.ts'
import { refuseExpiredCertificate } from '../certificate-end.ts'
import type { Cli } from '../cli.ts'
import { curlOptions, quietOptions, urlOf } from '../curl-invocation.ts'
import { findProgram } from '../find-program.ts'
import { readHome, type Home } from '../home.ts'
import { isOutage } from '../is-outage.ts'
import { levelOption } from '../options.ts'
import { psqlEnvironment, variablesRemoved } from '../psql-invocation.ts'
import { runClient } from '../run-client.ts'
import { sshArguments } from '../ssh/connect-invocation.ts'

/** What asking control may take before `connect` goes on without its answer. */
const askControlMs = 3_000

interface ConnectOptions {
  readonly level?: Level
  readonly dbname?: string
  readonly protocol?: Client
}

type Client = ResourceView['protocol']

/** A program, and what it is told. */
interface Invocation {
  readonly program: keyof typeof installed
  readonly commandLine: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** Inherited variables that would lead elsewhere. */
  readonly removed: readonly string[]
}

/** `sally connect RESOURCE [--level L] [--dbname D] [-- ARGUMENTS…]` */
export function declareConnect(command: Command, cli: Cli): void {
  command
    .argument('<resource>', 'name of the resource')
    .argument('[arguments...]', 'after --: passed on to psql, ssh or curl as they are')
    .addOption(levelOption('which of your grants to use; the newest if left out'))
    .option('--dbname <name>', 'database; by default the resource’s tag "database"')
    .addOption(
      new Option('--protocol <protocol>', 'what it speaks, where control cannot be asked').choices([
        'postgres',
        'ssh',
        'http',
      ]),
    )
    .addHelpText(
      'after',
      '\nWith --json the command and its environment are printed instead of run.' +
        '\nThe exit code is the one of psql, ssh or curl.\n\nExamples:' +
        "\n  sally connect orders-db\n  sally connect orders-db --level write -- -c 'select 1'" +
        '\n  sally connect web1 --level admin\n  sally connect web1 -- -L 8080:localhost:80 uptime' +
        '\n  sally connect wiki -- /api/echo -d x=1',
    )
    .action(async (name: string, passedOn: string[], options: ConnectOptions): Promise<void> => {
      const home = readHome(cli.environment)
      refuseExpiredCertificate(home, cli.clock)
      const resource = readResourceName(name, home)
      const known = await askControl(cli, home, resource, options.level)
      const client = clientOf(home, known, options)
      if (known === undefined && options.protocol === undefined) {
        cli.note(cli.paintNote(`taking it for ${client}; --protocol says otherwise`, 'yellow'))
      }
      const invoke = invocations[client]
      const target = { resource, known, passedOn, options }
      const { program, commandLine, environment, removed } = invoke(home, target)
      if (cli.json) {
        cli.answer({ command: [program, ...commandLine], env: environment }, () => '')
        return
      }
      const inherited = { ...cli.environment }
      for (const variable of removed) delete inherited[variable]
      const path = findProgram(program, cli.environment) ?? throwMissing(program)
      cli.exitWith(await runClient(path, commandLine, { ...inherited, ...environment }))
    })
}

/** Control knows; without it, who asked, or a home that knows one protocol only. */
function clientOf(home: Home, known: ResourceView | undefined, options: ConnectOptions): Client {
  const [usual = 'postgres'] = protocolNames.filter((name) => home.config.proxyPorts[name])
  return known?.protocol ?? options.protocol ?? usual
}

interface Target {
  readonly resource: string
  readonly known: ResourceView | undefined
  /** What the client is told by the person. */
  readonly passedOn: readonly string[]
  readonly options: ConnectOptions
}

const invocations: Readonly<Record<Client, (home: Home, target: Target) => Invocation>> = {
  postgres: invokePsql,
  ssh: invokeSsh,
  http: invokeCurl,
}

function invokePsql(home: Home, { resource, known, passedOn, options }: Target): Invocation {
  const { level, dbname } = options
  const database = dbname ?? known?.tags['database']
  const target = { resource, hostname: known?.hostname, level, database }
  const environment = psqlEnvironment(home, target)
  return { program: 'psql', commandLine: passedOn, environment, removed: variablesRemoved }
}

function invokeSsh(home: Home, { resource, known, passedOn, options }: Target): Invocation {
  const { level } = options
  refuseDatabase(options, resource, 'SSH')
  const words = sshArguments(home, { resource, hostname: known?.hostname, level })
  return { program: 'ssh', commandLine: [...words, ...passedOn], environment: {}, removed: [] }
}

/** A first argument that is a path is the app's; without one it is its front page. */
function invokeCurl(home: Home, { resource, known, passedOn, options }: Target): Invocation {
  refuseDatabase(options, resource, 'HTTP')
  const hostname = known?.hostname ?? `${resource}.${home.config.domain}`
  const [first, ...rest] = passedOn
  const isPath = first?.startsWith('/') === true
  const url = urlOf(home, hostname, isPath ? first : '/')
  const level = options.level === undefined ? [] : ['--header', `Sallyport-Level: ${options.level}`]
  const words = [...curlOptions(home, [url]), ...quietOptions(passedOn), ...level, url.href]
  const commandLine = [...words, ...(isPath ? rest : passedOn)]
  return { program: 'curl', commandLine, environment: {}, removed: [] }
}

function refuseDatabase({ dbname }: ConnectOptions, resource: string, protocol: string): void {
  if (dbname === undefined) return
  throw new SallyportError('usage', `--dbname for a resource of ${protocol}`, {
    clientMessage: `${resource} is reached by ${protocol} and has no databases`,
    hint: `leave --dbname out: sally connect ${resource}`,
  })
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

const installed = {
  psql: {
    debian: 'postgresql-client',
    mac: 'brew install libpq && brew link --force libpq',
  },
  ssh: { debian: 'openssh-client', mac: 'brew install openssh' },
  curl: { debian: 'curl', mac: 'brew install curl' },
} as const

function throwMissing(program: Invocation['program']): never {
  const { debian, mac } = installed[program]
  throw new SallyportError('client-missing', `${program} is not on PATH`, {
    clientMessage: `${program} is not installed (it is not on PATH)`,
    hint:
      process.platform === 'darwin'
        ? `install it: ${mac}`
        : `install it: sudo apt-get install ${debian} (macOS: ${mac})`,
  })
}
