import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { catalog, findEntry } from '../../../control/cli/catalog.ts'
import { createCli } from '../../../control/cli/cli.ts'
import { completionScript, shells } from '../../../control/cli/completion-scripts.ts'
import { createProgram } from '../../../control/cli/program.ts'
import { createTestClock } from '../../test-clock.ts'

const silent = { write: () => true }
const cli = createCli({
  clock: createTestClock(),
  environment: {},
  json: false,
  stdin: {},
  stdout: silent,
  stderr: silent,
  exitWith: () => undefined,
})
const program = await createProgram(cli, catalog, { write: () => undefined })
const bash = completionScript('bash', program)

function complete(...words: string[]): string[] {
  const script = `${bash}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_sally; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['-c', script], { encoding: 'utf8' }).split('\n').filter(Boolean)
}

test('bash completes commands, their children, options and values', () => {
  expect(complete('sally', 'gr')).toEqual(['grants', 'grant'])
  expect(complete('sally', 'audit', '')).toEqual(
    expect.arrayContaining(['search', 'actions', 'verify', 'export', 'status']),
  )
  expect(complete('sally', 'sessions', 'cut', '--re')).toEqual(['--reason'])
  expect(complete('sally', 'grant', 'dev@example.test', 'orders-db', '--level', '')).toEqual([
    'read',
    'write',
    'delete',
    'admin',
  ])
  expect(complete('sally', 'request', 'orders-db', '--wa')).toEqual(['--wait'])
  expect(complete('sally', 'requests', '--de')).toEqual(['--decide'])
  expect(complete('sally', 'flows', 'a')).toEqual(['apply'])
  expect(complete('sally', 'flows', 'apply', 'package.j')).toEqual(['package.json'])
  expect(complete('sally', 'completion', '')).toEqual(expect.arrayContaining([...shells]))
})

test.each(shells)('the script for %s names every command and option', (shell) => {
  const script = completionScript(shell, program)
  for (const { path } of catalog) for (const word of path.split(' ')) expect(script).toContain(word)
  expect(script).toContain('dry-run')
})

test('each command of the catalog has a file that declares it, and its words find it', () => {
  for (const entry of catalog) {
    expect(findEntry([...entry.path.split(' '), '--json', 'x'])).toBe(entry)
    let command = program
    for (const word of entry.path.split(' ')) {
      command = command.commands.find((child) => child.name() === word)!
    }
    expect(command.description()).toBe(entry.summary)
  }
})

test('what follows -- is not looked at', () => {
  expect(findEntry(['connect', '--', 'audit', 'verify'])?.path).toBe('connect')
  expect(findEntry(['--', 'whoami'])).toBeUndefined()
})
