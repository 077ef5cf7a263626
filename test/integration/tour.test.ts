/** The five minutes of the README, run as they are written; only the port is the one that was free. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { clusterPlace } from '../../deploy/postgres/place.ts'
import { eventually, readyFile, run } from '../demo-site.ts'
import { seedStores } from '../seed-stores.ts'

const root = resolve(import.meta.dirname, '../..')
const usualPort = '15432'
/** Printed between the parts, so that each answer is known for its own. */
const border = '~~~~ end of part ~~~~'

let directory: string
let demo: ChildProcess
let printed = ''
let port: string

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-tour-'))
  symlinkSync(join(root, 'control'), join(directory, 'control'))
  mkdirSync(join(directory, 'home'))
  mkdirSync(join(directory, 'data', 'demo'), { recursive: true })
  await seedStores(join(directory, 'data', 'demo', 'control', 'store'))
  const file = join(directory, 'ready.json')
  const script = join(root, 'deploy/demo.ts')
  // In a directory of its own, so that data/demo is where the README has it.
  demo = spawn(process.execPath, [script, '--ready', file, '--ports', 'random'], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  demo.stdout!.on('data', (chunk) => (printed += String(chunk)))
  demo.stderr!.on('data', (chunk) => (printed += String(chunk)))
  await eventually(
    () => existsSync(file) || demo.exitCode !== null,
    (done) => done,
    90_000,
  )
  if (demo.exitCode !== null) throw new Error(`the demo ended:\n${printed}`)
  port = String(readyFile.parse(JSON.parse(readFileSync(file, 'utf8'))).proxy.ports.postgres)
})
afterAll(async () => {
  if (demo.exitCode === null && demo.signalCode === null) {
    const gone = once(demo, 'exit')
    demo.kill('SIGTERM')
    await gone
  }
  rmSync(clusterPlace(join(directory, 'data', 'demo')), { recursive: true, force: true })
  rmSync(directory, { recursive: true, force: true })
})

/**
 * What each `sleep` of the README waits for: there are seconds for it there, which are not enough on a busy machine. What then has to be
 * live for a while lives longer, for the same reason.
 */
const awaited = [
  'SALLY_HOME=$lead sally requests --decide --ids',
  'SALLY_HOME=$auditor sally sessions --live --resource orders-db --ids',
  'SALLY_HOME=$auditor sally sessions --live --resource web1 --ids',
  'SALLY_HOME=$auditor sally sessions --live --resource orders-db --ids',
]

function patiently(script: string): string {
  const waits = awaited.values()
  return script
    .replaceAll(/& sleep \d+$/gm, () => {
      const wait = waits.next().value ?? 'no such wait'
      return `& for n in {1..100}; do [ -z "$(${wait} 2>/dev/null)" ] || break; sleep 0.2; done`
    })
    .replace('pg_sleep(5)', 'pg_sleep(10)')
    .replace('timeout 6', 'timeout 10')
}

/** The shell commands under "Five minutes", one text for each block; the first starts the demo. */
function partsOfTour(): string[] {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [, section = ''] = /\n## Five minutes\n([^]*?)\n### /.exec(readme) ?? []
  const blocks = [...section.matchAll(/```sh\n([^]*?)```/g)].map(([, text]) => text!)
  return blocks.map((block) => block.replaceAll(usualPort, port))
}

test('the demo prints the same commands', async () => {
  await eventually(
    () => printed,
    (text) => text.includes('Ctrl-C'),
  )
  const lines = new Set(printed.split('\n'))
  const commands = partsOfTour()
    .slice(2)
    .flatMap((part) => part.trimEnd().split('\n'))
    .filter((line) => !line.startsWith('#'))
  expect(commands.length).toBeGreaterThan(20)
  expect(commands.filter((command) => !lines.has(command))).toEqual([])
})

test('every part says what it should', async () => {
  const [start, ...parts] = partsOfTour()
  expect(start).toBe('npm ci && npm run demo\n')
  const script = patiently(parts.map((part) => `${part}\necho '${border}'\n`).join(''))
  expect(script.match(/for n in /g)).toHaveLength(awaited.length)
  const environment = { HOME: join(directory, 'home'), PGSERVICEFILE: '', NO_COLOR: '1' }
  const toured = await run('bash', ['-c', `cd '${directory}'; exec 2>&1\n${script}`], environment)
  const said = toured.stdout.split(`${border}\n`)
  const expected: readonly RegExp[] = [
    /data\/demo|sallyport-tour/,
    /orders-db +postgres[^]*automatic[^]*approved: dev@example\.test has read on orders-db[^]*connect: sally connect orders-db --level read[^]*\(3 rows\)/,
    /delivered|shipped|paid[^]*1 service in [^]*\.pg_service\.conf[^]*count[^]*\(1 row\)/,
    /approved:[^]*FATAL: +your access to "orders-db" has ended\nHINT: +ask again: sally request orders-db --level read --reason TEXT --wait/,
    /waiting for 1 more yes of leads[^]*your turn[^]*error: [^]*hint: [^]*lead[^]*approved: dev@example\.test has write[^]*UPDATE 1/,
    /select count\(\*\) from orders[^]*pg_sleep/,
    /approved: dev@example\.test has read on web1[^]*you are viewer[^]*access\.log[^]*you are viewer/,
    /approved: dev@example\.test has read on wiki[^]*"who": "dev@example\.test"[^]*"detail":"this needs level write, and you have read"[^]*POST \/pages[^]*GET \/api\/echo/,
    /it waits for 2 more yes of leads[^]*your yes is counted[^]*1 more yes of leads[^]*approved: dev@example\.test has delete/,
    /(given back: [^]*){3}error: you have no live grant on "orders-db"\nhint: ask for it \(approved at once\): sally request orders-db --level read/,
    /dev@example\.test +orders-db +read[^]*select name, email from customers[^]*request\.approved[^]*/,
    /approved: oncall@example\.test has read(?=[^]*revoked: oncall@example\.test)[^]*FATAL: +your access to "orders-db" was revoked: incident over/,
  ]
  expect(said).toHaveLength(expected.length + 1)
  for (const [index, words] of expected.entries()) expect(said[index]).toMatch(words)
})

test('the shell is not stopped where a terminal runs it in the background', async () => {
  // In a terminal every line with & is a job, and one that takes the terminal for itself is stopped.
  const lines = partsOfTour().join('').split('\n')
  const at = lines.findIndex((each) => each.includes('-tt'))
  const [ask, line] = lines.slice(at - 1, at + 1)
  const job = line!.replace('timeout 6', 'timeout 1').replace(/ sleep \d+$/, ' wait')
  const script = join(directory, 'job.sh')
  const named = `export dev='${join(directory, 'data/demo/homes/dev')}' PATH='${join(directory, 'control/cli')}':"$PATH"`
  writeFileSync(script, `set -m\n${named}\n${ask}\n${job}\n`)
  const environment = { HOME: join(directory, 'home'), NO_COLOR: '1' }
  const seen = await run(
    'script',
    ['-qec', `timeout --foreground 30 bash '${script}'`, '/dev/null'],
    environment,
  )
  expect(seen.stdout).toContain('you are viewer')
  expect(seen.stdout).not.toContain('Stopped')
})
