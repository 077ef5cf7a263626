import { systemClock } from '../../protocols/kit/clock.ts'
import { findEntry } from './catalog.ts'
import { createCli, type Cli } from './cli.ts'
import { exitCodes } from './exit-codes.ts'

/** Runs one command line and leaves the exit code in `process.exitCode`. Never rejects. */
export async function run(given: readonly string[]): Promise<void> {
  const entry = findEntry(given)
  const argv = entry?.isForAnother === true ? separate(given, entry.path) : given
  // A reader that went away (`sally sessions | head`) is not a mistake.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.internal)
  })
  process.stderr.on('error', () => process.exit(exitCodes.internal))
  const ours = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv
  const cli = createCli({
    clock: systemClock,
    environment: process.env,
    json: ours.includes('--json'),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    exitWith: (code) => {
      process.exitCode = code
    },
  })
  process.on('uncaughtException', (error) => crash(error, cli))
  try {
    if (entry === undefined && ours.some((word) => word === '--version' || word === '-V')) {
      const { readVersion } = await import('./read-version.ts')
      const version = readVersion()
      cli.answer({ version, node: process.versions.node }, () => `sally ${version}`)
      return
    }
    const { createProgram, HelpShown } = await import('./program.ts')
    const output = { write: (text: string) => void process.stdout.write(text) }
    const program = await createProgram(cli, entry === undefined ? [] : [entry], output)
    if (ours.every((word) => word === '--json')) {
      program.outputHelp()
      return
    }
    try {
      await program.parseAsync(argv, { from: 'user' })
    } catch (error) {
      if (!(error instanceof HelpShown)) throw error
    }
  } catch (error) {
    await report(error, cli)
  }
}

/** With `--` after the command's name; but whoever asks for help alone gets ours. */
function separate(argv: readonly string[], name: string): readonly string[] {
  const at = argv.indexOf(name)
  const rest = argv.slice(at + 1)
  if (rest.length === 1 && /^(?:-h|--help|--)$/.test(rest[0]!)) return argv
  return [...argv.slice(0, at + 1), '--', ...rest]
}

function crash(thrown: unknown, cli: Cli): void {
  void report(thrown, cli).finally(() => process.exit())
}

async function report(error: unknown, cli: Cli): Promise<void> {
  const { reportError } = await import('./report-error.ts')
  process.exitCode = reportError(error, cli)
}
