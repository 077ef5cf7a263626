/** `sally connect` with a psql that tells what it was given; and the script that finds the Node to run. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { shopHandlers } from '../../fakes/shop.ts'
import { runSally, sallyPath } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
let usual: FakeHandlers

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-connect-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'), { proxyPort: 15_432 })
})
beforeEach(() => {
  api.handlers = usual
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** A directory for PATH whose psql is this shell script. */
function fakePsql(name: string, script: string): string {
  const directory = join(scratch, name)
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'psql'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(directory, 'psql'), 0o755)
  return `${directory}:${process.env['PATH'] ?? ''}`
}

interface Invocation {
  command: string[]
  env: Record<string, string>
}
async function invocation(commandLine: string[], sallyHome = home): Promise<Invocation> {
  const run = await runSally(['connect', ...commandLine], { home: sallyHome })
  expect(run).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(run.stdout) as Invocation
}

describe('what psql is told', () => {
  test('everything, in the environment', async () => {
    expect(await invocation(['orders-db', '--json'])).toEqual({
      command: ['psql'],
      env: {
        PGHOST: 'orders-db.access.localhost',
        PGHOSTADDR: '127.0.0.1',
        PGPORT: '15432',
        PGDATABASE: 'shop',
        PGUSER: '~orders-db',
        PGSSLMODE: 'verify-full',
        PGSSLROOTCERT: join(home, 'ca.pem'),
        PGSSLCERT: join(home, 'cert.pem'),
        PGSSLKEY: join(home, 'key.pem'),
        PGGSSENCMODE: 'disable',
      },
    })
  })

  test('level, database and arguments; what follows -- is not looked at', async () => {
    const line = [
      '--json',
      'orders-db',
      '--level',
      'write',
      '--dbname',
      'other',
      '--',
      '-c',
      'select 1',
      '--json',
      '--help',
    ]
    expect(await invocation(line)).toMatchObject({
      command: ['psql', '-c', 'select 1', '--json', '--help'],
      env: { PGUSER: 'write~orders-db', PGDATABASE: 'other' },
    })
  })

  test('a host name is as good, and a proxy without an address is found by DNS', async () => {
    const named = await makeHome(api, join(scratch, 'named'), { proxyHost: 'proxy.example.test' })
    const { env } = await invocation(['orders-db.access.localhost', '--json'], named)
    expect(env['PGHOST']).toBe('orders-db.access.localhost')
    expect(env).not.toHaveProperty('PGHOSTADDR')
  })

  test('an unknown resource is refused before psql starts, an outage of control is not', async () => {
    const unknown = await runSally(['connect', 'payroll-db', '--json'], { home })
    expect(unknown.code).toBe(4)
    expect(JSON.parse(unknown.stderr)).toMatchObject({
      error: { code: 'not-found', hint: expect.stringContaining('sally resources') as string },
    })
    expect((await runSally(['connect', 'no such'], { home })).code).toBe(2)
    api.handlers = {}
    expect((await runSally(['connect', 'orders-db', '--json'], { home })).code).toBe(70)
    const lost = await makeHome({ ...api, url: 'https://127.0.0.1:1' }, join(scratch, 'lost'))
    expect((await invocation(['orders-db', '--json'], lost)).env).toMatchObject({
      PGHOST: 'orders-db.access.localhost',
      PGDATABASE: 'postgres',
    })
  })

  test('an ended certificate is named as such', async () => {
    const ended = await makeHome(api, join(scratch, 'ended'), { validForMs: 1_000 })
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    const run = await runSally(['connect', 'orders-db'], { home: ended })
    expect(run.code).toBe(6)
    expect(run.stderr).toMatch(/your certificate ended[^]*sally people certificate/)
  })
})

describe('running it', () => {
  test('its output and exit code become ours; inherited variables do not lead elsewhere', async () => {
    const script =
      'echo "$PGUSER $PGHOST $# [$3]"; env | grep -c "^PGSERVICE=\\|^PGPASSWORD=\\|^PGSSLSNI="; cat; exit 3'
    const run = await runSally(['connect', 'orders-db', '--', '-c', 'x', 'a b'], {
      home,
      input: 'from our input',
      environment: {
        PATH: fakePsql('echo', script),
        PGSERVICE: 'elsewhere',
        PGPASSWORD: 'hunter2',
        PGSSLSNI: '0',
        PGHOST: 'elsewhere',
      },
    })
    expect(run).toMatchObject({
      code: 3,
      stdout: '~orders-db orders-db.access.localhost 3 [a b]\n0\nfrom our input',
      stderr: '',
    })
  })

  test('psql that is not there, with the command that brings it', async () => {
    const run = await runSally(['connect', 'orders-db', '--json', '--'], { home })
    expect(run.code).toBe(0)
    const missing = await runSally(['connect', 'orders-db'], {
      home,
      environment: { PATH: join(scratch, 'empty') },
    })
    expect(missing.code).toBe(1)
    expect(missing.stderr).toMatch(/psql is not installed[^]*(apt-get|brew) install/)
  })

  test.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)('%s reaches it', async (signal) => {
    const name = signal.slice(3)
    const script = `trap 'echo got ${name}; exit 9' ${name}; echo ready; while :; do sleep 0.05; done`
    const run = await started(fakePsql(name, script), (child) => child.kill(signal))
    expect(run).toEqual({ stdout: `ready\ngot ${name}\n`, code: 9, signal: null })
  })

  test('what ends it by a signal ends us by the same', async () => {
    const run = await started(fakePsql('killed', 'echo ready; kill -TERM $$'), () => true)
    expect(run).toEqual({ stdout: 'ready\n', code: null, signal: 'SIGTERM' })
  })

  test('it has the terminal to itself', async () => {
    const path = fakePsql(
      'tty',
      'test -t 0 && test -t 1 && test -t 2 && echo has a terminal; exit 4',
    )
    const line = `'${sallyPath}' connect orders-db; echo code $?`
    const run = await collect(
      spawn('script', ['-qec', line, '/dev/null'], {
        env: { ...process.env, SALLY_HOME: home, PATH: path },
        stdio: ['pipe', 'pipe', 'pipe'],
      }),
    )
    expect(run.stdout.replaceAll('\r', '')).toBe('has a terminal\ncode 4\n')
  })
})

describe('the script', () => {
  test('finds itself through symlinks and takes the pinned Node', async () => {
    const link = join(scratch, 'linked')
    symlinkSync(sallyPath, join(scratch, 'first'))
    symlinkSync('first', link)
    const run = await collect(
      spawn(link, ['--version'], { cwd: '/', env: { PATH: '/usr/bin:/bin' } }),
    )
    expect(run).toMatchObject({ code: 0, stdout: expect.stringMatching(/^sally \d/) as string })
  })

  test('says what to do where no Node is new enough', async () => {
    const alone = join(scratch, 'alone', 'control', 'cli')
    mkdirSync(alone, { recursive: true })
    const copy = join(alone, 'sally')
    writeFileSync(copy, await (await import('node:fs/promises')).readFile(sallyPath))
    chmodSync(copy, 0o755)
    const bin = join(scratch, 'old')
    mkdirSync(bin)
    writeFileSync(join(bin, 'node'), '#!/bin/sh\necho v20.1.0\n')
    chmodSync(join(bin, 'node'), 0o755)
    const run = await collect(spawn(copy, ['whoami'], { env: { PATH: `${bin}:/usr/bin:/bin` } }))
    expect(run.code).toBe(70)
    expect(run.stderr).toMatch(/Node 24 or newer; the node on PATH is v20\.1\.0[^]*npm ci/)
  })
})

type Child = ReturnType<typeof spawn>
interface Ended {
  stdout: string
  code: number | null
  signal: NodeJS.Signals | null
}

async function started(path: string, ready: (child: Child) => boolean): Promise<Ended> {
  const child = spawn(
    process.execPath,
    [join(sallyPath, '..', 'main.ts'), 'connect', 'orders-db'],
    {
      env: { HOME: process.env['HOME'], SALLY_HOME: home, PATH: path },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  child.stdout.once('data', () => ready(child))
  const { stdout, code, signal } = await collect(child)
  return { stdout, code, signal }
}

function collect(child: Child): Promise<Ended & { stderr: string }> {
  return new Promise((resolve, reject) => {
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ stdout, stderr, code, signal }))
  })
}
