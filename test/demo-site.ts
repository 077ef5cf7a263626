/**
 * The demo as a stranger runs it: started by its command, known by its `--ready` file, used through `sally` and psql.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { z } from 'zod'
import { seedStores } from './seed-stores.ts'

export const readyFile = z.strictObject({
  control: z.strictObject({ url: z.string() }),
  console: z.strictObject({ url: z.string() }),
  domain: z.string(),
  caFile: z.string(),
  proxy: z.strictObject({
    host: z.string(),
    ports: z.strictObject({ postgres: z.int(), ssh: z.int(), http: z.int() }),
  }),
  people: z.array(z.strictObject({ email: z.string(), password: z.string(), home: z.string() })),
  resources: z.array(
    z.strictObject({
      name: z.string(),
      protocol: z.string(),
      hostname: z.string(),
      levels: z.array(z.string()),
    }),
  ),
  sally: z.tuple([z.string(), z.string()]),
})
export type Ready = z.infer<typeof readyFile>

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export type Who = 'dev' | 'oncall' | 'lead' | 'admin' | 'auditor'

export interface DemoSite {
  readonly directory: string
  readonly ready: Ready
  home(who: Who): string
  /** Runs `sally` as somebody; never rejects for its exit code. */
  sally(who: Who, ...parameters: string[]): Promise<Finished>
  /** The same with `--json`; rejects unless it ends with 0. */
  sallyJson<T>(who: Who, ...parameters: string[]): Promise<T>
  /** Environment in which libpq programs reach `orders-db` as somebody, with nothing of `sally`. */
  libpq(who: Who, more?: Record<string, string>): Record<string, string>
  /** A connection string for plain psql, as the README writes it. */
  conninfo(who: Who, resource?: string): string
  /** Process id of `control`, `proxy` or `orders-db` as it runs now. */
  pid(name: 'control' | 'proxy'): number
  stop(): Promise<void>
}

const root = resolve(import.meta.dirname, '..')

export async function startDemo(): Promise<DemoSite> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  const file = join(directory, 'ready.json')
  const data = join(directory, 'data')
  mkdirSync(data)
  await seedStores(join(data, 'control', 'store'))
  const demo = spawn(
    process.execPath,
    [join(root, 'deploy/demo.ts'), ...['--ready', file, '--data-dir', data, '--ports', 'random']],
    { cwd: root, stdio: ['pipe', 'pipe', 'pipe'] },
  )
  let output = ''
  demo.stdout.on('data', (chunk) => (output += String(chunk)))
  demo.stderr.on('data', (chunk) => (output += String(chunk)))
  for (let tries = 0; !existsSync(file); tries += 1) {
    if (demo.exitCode !== null || tries > 1_200)
      throw new Error(`the demo did not start:\n${output}`)
    await wait(100)
  }
  const ready = readyFile.parse(JSON.parse(readFileSync(file, 'utf8')))
  const started = site(directory, demo, ready)
  // Nobody holds standing access: what dev reads with in tests, dev asks for as everybody does.
  const ask = ['request', 'orders-db', '--level', 'read', '--for', '8h', '--reason', 'tests']
  await started.sallyJson('dev', ...ask)
  return started
}

function site(directory: string, demo: ChildProcess, ready: Ready): DemoSite {
  const home = (who: Who): string =>
    ready.people.find((person) => person.email === `${who}@example.test`)!.home
  const sally = (who: Who, ...parameters: string[]): Promise<Finished> =>
    run(ready.sally[0], [ready.sally[1], ...parameters], { SALLY_HOME: home(who) })
  return {
    directory,
    ready,
    home,
    sally,
    async sallyJson<T>(who: Who, ...parameters: string[]) {
      const finished = await sally(who, ...parameters, '--json')
      if (finished.code !== 0) {
        throw new Error(`sally ${parameters.join(' ')}: ${finished.code} ${finished.stderr}`)
      }
      return JSON.parse(finished.stdout) as T
    },
    libpq: (who, more = {}) => ({
      PGHOST: 'orders-db.access.localhost',
      PGHOSTADDR: ready.proxy.host,
      PGPORT: String(ready.proxy.ports.postgres),
      PGDATABASE: 'shop',
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: ready.caFile,
      PGSSLCERT: join(home(who), 'cert.pem'),
      PGSSLKEY: join(home(who), 'key.pem'),
      ...more,
    }),
    conninfo: (who, resource = 'orders-db') =>
      [
        `host=${resource}.access.localhost`,
        `hostaddr=${ready.proxy.host}`,
        `port=${ready.proxy.ports.postgres}`,
        'dbname=shop sslmode=verify-full',
        `sslrootcert=${ready.caFile}`,
        `sslcert=${join(home(who), 'cert.pem')}`,
        `sslkey=${join(home(who), 'key.pem')}`,
      ].join(' '),
    pid: (name) => findProcess(name, directory),
    async stop() {
      demo.stdin?.end()
      demo.kill('SIGTERM')
      if (demo.exitCode === null) await new Promise((done) => demo.once('exit', done))
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** The newest process whose command line has `<name>/main.ts` and this demo's directory. */
function findProcess(name: string, directory: string): number {
  const found = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return line.includes(`${name}/main.ts`) && line.includes(directory)
      } catch {
        return false
      }
    })
  if (found.length === 0) throw new Error(`no ${name} runs`)
  return Math.max(...found)
}

/** Runs a program to its end. `environment` is added to ours. */
export function run(
  program: string,
  parameters: readonly string[],
  environment: Record<string, string> = {},
  input?: string,
): Promise<Finished> {
  return new Promise((done, fail) => {
    const child = spawn(program, parameters, { env: { ...process.env, ...environment } })
    let stdout = ''
    let stderr = ''
    child.stdout.on('data', (chunk) => (stdout += String(chunk)))
    child.stderr.on('data', (chunk) => (stderr += String(chunk)))
    child.on('error', fail)
    child.on('close', (code) => done({ code, stdout, stderr }))
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

/** Asks again until `ready` says yes; rejects after `limitMs`. */
export async function eventually<T>(
  ask: () => Promise<T> | T,
  ready: (answer: T) => boolean,
  limitMs = 60_000,
): Promise<T> {
  for (let waited = 0; ; waited += 50) {
    const answer = await ask()
    if (ready(answer)) return answer
    if (waited > limitMs) throw new Error(`not in time; last: ${JSON.stringify(answer)}`)
    await wait(50)
  }
}
