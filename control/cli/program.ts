/** The command tree for commander, out of the catalog; only what is asked for is loaded. */
import { Command, CommanderError } from 'commander'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { catalog, groupSummaries, type CatalogEntry } from './catalog.ts'
import type { Cli } from './cli.ts'

/** What the tree holds: every name, and the whole declaration of `loaded`. */
export async function createProgram(
  cli: Cli,
  loaded: readonly CatalogEntry[],
  output: { write(text: string): void },
): Promise<Command> {
  let complaint = ''
  const program: Command = new Command('sally')
    .description('Reach what you were granted, and grant, watch and prove what was reached.')
    .option('--json', 'answer as JSON; errors too, on standard error')
    .option('-V, --version', 'print the version')
    .helpCommand(false)
    .configureHelp({
      showGlobalOptions: true,
      visibleGlobalOptions: (command) =>
        command === program ? [] : program.options.filter(({ long }) => long === '--json'),
    })
    .configureOutput({
      writeOut: (text) => output.write(text),
      writeErr: (text) => {
        complaint += text
      },
      getOutHelpWidth: () => helpWidth,
      getErrHelpWidth: () => helpWidth,
    })
    .exitOverride((error) => {
      throw asUsage(error, complaint, loaded[0]?.path)
    })
    .addHelpText(
      'after',
      '\nMore: sally help COMMAND, sally help exit-codes, sally help environment, sally help json',
    )
  for (const entry of catalog) {
    const words = entry.path.split(' ')
    const name = words.at(-1) ?? entry.path
    const parent = words.length > 1 ? group(program, words[0] ?? '') : program
    const command = findChild(parent, name) ?? parent.command(name)
    command.helpCommand(false).description(entry.summary).copyInheritedSettings(program)
    if (loaded.includes(entry)) (await entry.load())(command, cli)
    else command.allowUnknownOption().allowExcessArguments()
  }
  return program
}

/** A parent that is no command itself (`audit`), or the command that has others under it (`sessions`). */
function group(program: Command, name: string): Command {
  const known = findChild(program, name)
  if (known !== undefined) return known
  return program
    .command(name)
    .description(groupSummaries[name] ?? '')
    .helpCommand(false)
}

export function findChild(parent: Command, name: string): Command | undefined {
  return parent.commands.find((command) => command.name() === name)
}

const helpWidth = 100

/** Help that was asked for is no error; everything else commander throws is the caller's usage. */
export class HelpShown extends Error {}

function asUsage(error: CommanderError, complaint: string, path: string | undefined): Error {
  if (error.code === 'commander.helpDisplayed' || error.code === 'commander.version') {
    return new HelpShown()
  }
  if (error.code === 'commander.help') {
    return new SallyportError('usage', 'a command is missing', {
      clientMessage: `which command?\n\n${complaint.trimEnd()}`,
    })
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  const suggestion = /did you mean (.+)\?/i.exec(rest.join(' '))?.[1]
  return new SallyportError('usage', first, {
    clientMessage: first,
    hint:
      suggestion === undefined
        ? `sally help${path === undefined ? '' : ` ${path}`} shows how it is written`
        : `did you mean ${suggestion}?`,
    cause: error,
  })
}
