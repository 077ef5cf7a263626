/** The runner of the tests must not be able to call a failure a success. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { installCommand } from '../../deploy/install-packages.ts'
import { missingPackages } from '../debian-packages.ts'
import { add, countsOfCheck, countsOfReport, summaryOf } from '../test-counts.ts'

describe('counting', () => {
  const report = (
    numPassedTests: number,
    numFailedTests: number,
    files: { status: string; assertionResults: { status: string }[] }[] = [],
  ) => ({
    ...{ numPassedTests, numFailedTests, numPendingTests: 2, numTodoTests: 1 },
    testResults: files,
  })

  test.each([
    ['a good run', report(5, 0), 0, [5, 0, 3]],
    ['a failed test', report(4, 1), 1, [4, 1, 3]],
    ['a run that failed without saying where', report(5, 0), 1, [5, 1, 3]],
    [
      'a file that did not load',
      report(0, 0, [{ status: 'failed', assertionResults: [] }]),
      1,
      [0, 1, 3],
    ],
    [
      'a file whose failed test is counted already',
      report(0, 1, [{ status: 'failed', assertionResults: [{ status: 'failed' }] }]),
      ...([1, [0, 1, 3]] as const),
    ],
    ['no report at all', undefined, 1, [0, 1, 0]],
    ['no report though all is said to be well', undefined, 0, [0, 1, 0]],
    ['a report of another form', { numPassedTests: '5' }, 0, [0, 1, 0]],
  ] as const)('%s', (_, given, exitCode, [passed, failed, skipped]) => {
    expect(countsOfReport(given, exitCode)).toEqual({ passed, failed, skipped })
  })

  test('sums up to one line', () => {
    const sum = add(countsOfCheck(0), add(countsOfCheck(2), countsOfReport(report(5, 0), 0)))
    expect(summaryOf(sum)).toBe('6 passed, 1 failed, 3 skipped')
    expect(summaryOf(countsOfCheck(0))).toBe('1 passed, 0 failed')
  })
})

describe('programs', () => {
  test('that do not run are named by their packages, each once', () => {
    expect(missingPackages(() => true)).toEqual([])
    const missing = missingPackages((command) => !command.startsWith('pg_') && command !== 'psql')
    expect(missing).toEqual(['postgresql-client'])
    expect(installCommand(missing)).toContain(
      'apt-get install --no-install-recommends postgresql-client',
    )
  })
})

describe('the command', () => {
  const runs = async (...parameters: string[]) => {
    try {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, parameters)
      return { code: 0, text: stdout + stderr }
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
      return { code, text: stdout + stderr }
    }
  }
  const root = join(import.meta.dirname, '../..')

  test('refuses options that it does not know', async () => {
    const { code, text } = await runs(join(root, 'test/run.ts'), '--fast')
    expect(code).toBe(2)
    expect(text).toContain('usage: npm test -- [--unit] [--long]')
  })

  test('an old Node is told what to do', async () => {
    const pretend = `Object.defineProperty(process, 'versions', { value: { node: '20.1.0' } })
      require(${JSON.stringify(join(root, 'deploy/require-node.cjs'))})`
    const { code, text } = await runs('--eval', pretend)
    expect(code).toBe(1)
    expect(text).toContain('this is Node 20.1.0')
    expect(text).toContain('npm ci && npm test')
    expect(
      (await runs('--require', join(root, 'deploy/require-node.cjs'), '--eval', '')).code,
    ).toBe(0)
  })
})
