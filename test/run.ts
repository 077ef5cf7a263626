/**
 * The tests, all of them: `npm test`, or `npm test -- [--unit] [--long]`.
 *
 * --unit  format, lint, types and the unit tests only: seconds, and no other program is needed
 * --long  fuzzing, faults and load for minutes instead of seconds
 *
 * Each phase runs also if one before it failed. The last line is the sum of all; the exit code is 0 only if nothing failed.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { parseArgs } from 'node:util'
import { preparePackages } from '../deploy/prepare-packages.ts'
import { canInstall, installCommand, installPackages } from '../deploy/install-packages.ts'
import { missingPackages } from './debian-packages.ts'
import { add, countsOfCheck, countsOfReport, summaryOf, type Counts } from './test-counts.ts'

const root = join(import.meta.dirname, '..')
const binaries = join(root, 'node_modules', '.bin')

interface Phase {
  readonly name: string
  readonly command: string
  readonly parameters: readonly string[]
}

const checks: readonly Phase[] = [
  { name: 'format', command: 'oxfmt', parameters: ['--check', '.'] },
  { name: 'lint', command: 'oxlint', parameters: ['--type-aware', '--deny-warnings'] },
  { name: 'types', command: 'tsc', parameters: ['--noEmit'] },
]
const suites = ['unit', 'conformance', 'integration', 'browser', 'faults']

const options = readOptions()
process.exitCode = await runAll()

function readOptions(): { unit: boolean; long: boolean } {
  try {
    const { values } = parseArgs({
      options: {
        unit: { type: 'boolean', default: false },
        long: { type: 'boolean', default: false },
      },
    })
    return values
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: npm test -- [--unit] [--long]`)
    process.exit(2)
  }
}

async function runAll(): Promise<number> {
  if (!options.unit && !providePrograms()) return 1
  preparePackages(console.log)
  const chosen = options.unit ? suites.slice(0, 1) : suites
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  let total: Counts = { passed: 0, failed: 0, skipped: 0 }
  const failed: string[] = []
  let phase = 0
  const announce = (name: string): void => {
    console.log(`\n[${++phase}/${checks.length + chosen.length}] ${name}`)
  }
  try {
    for (const check of checks) {
      announce(check.name)
      const exitCode = await run(check.command, check.parameters)
      if (exitCode !== 0) failed.push(check.name)
      total = add(total, countsOfCheck(exitCode))
    }
    for (const suite of chosen) {
      announce(suite)
      const report = join(scratch, `${suite}.json`)
      const exitCode = await run('vitest', [
        ...['run', '--project', suite],
        ...['--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
      ])
      if (exitCode !== 0) failed.push(suite)
      total = add(total, countsOfReport(readReport(report), exitCode))
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  console.log(failed.length === 0 ? '\nall phases passed' : `\nfailed: ${failed.join(', ')}`)
  console.log(summaryOf(total))
  return failed.length === 0 && total.failed === 0 ? 0 : 1
}

/** The clients and servers that come from Debian. False if some are missing and cannot be installed from here. */
function providePrograms(): boolean {
  const missing = missingPackages()
  if (missing.length === 0) return true
  if (!canInstall()) {
    console.error(
      `The tests run real programs that this machine lacks. Install these Debian packages:\n` +
        `  ${installCommand(missing)}\n` +
        `or run the part that needs none of them: npm test -- --unit`,
    )
    return false
  }
  console.log(`installing Debian packages: ${missing.join(', ')}`)
  const left = installPackages(missing) ? missingPackages() : missing
  if (left.length > 0) console.error(`could not install: ${left.join(', ')} (see apt-get above)`)
  return left.length === 0
}

/** Runs a tool of ours to its end and gives its exit code; 1 if a signal ended it. */
function run(command: string, parameters: readonly string[]): Promise<number> {
  const env = {
    ...process.env,
    // The tools' first lines say `env node`: that has to be the pinned one.
    PATH: [binaries, process.env['PATH'] ?? '', '/usr/sbin'].join(delimiter),
    ...(options.long ? { SALLYPORT_LONG: '1' } : {}),
  }
  return new Promise((resolve, reject) => {
    const child = spawn(join(binaries, command), parameters, { cwd: root, env, stdio: 'inherit' })
    child.once('error', reject)
    child.once('exit', (exitCode) => resolve(exitCode ?? 1))
  })
}

function readReport(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}
