/** What only a terminal sees: questions, hidden input, colours, progress. Under a real pseudo-terminal. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { readSealedSecrets, sealedSecretsIn } from '../../../control/api/sealed-secrets.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { startAsking } from '../../fakes/requests.ts'
import { shopHandlers } from '../../fakes/shop.ts'
import { eventually } from '../../demo-site.ts'
import { sallyPath } from '../../run-sally.ts'

let api: FakeApi
let usual: FakeHandlers
let scratch: string
let home: string

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-terminal-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'))
  const yaml = `resources:
  - name: orders-db
    protocol: postgres
    address: { host: 127.0.0.1, port: 5432 }
    levels: { read: { account: reader, secret: "sealed:orders-db/read" } }
`
  writeFileSync(join(scratch, 'resources.yaml'), yaml)
})
beforeEach(() => {
  api.handlers = usual
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** Runs a command line on a terminal of its own; `typed` goes in once `prompt` has appeared. */
function onTerminal(
  commandLine: string,
  options: { prompt?: string; typed?: string; environment?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const line = `'${sallyPath}' ${commandLine}; echo "code $?"`
    const child = spawn('script', ['-qec', line, '/dev/null'], {
      env: {
        ...process.env,
        NO_COLOR: '',
        TERM: 'xterm',
        SALLY_HOME: home,
        ...options.environment,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let seen = ''
    let asked = false
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text
      if (asked || options.prompt === undefined || !seen.includes(options.prompt)) return
      asked = true
      child.stdin.write(options.typed ?? '')
    })
    child.on('error', reject)
    child.on('close', () => resolve(seen.replaceAll('\r\n', '\n')))
  })
}

test('a secret is asked for and never shown', async () => {
  const data = join(scratch, 'proxy')
  const seen = await onTerminal(`secret set sealed:a/b --proxy-data ${data}`, {
    prompt: '(not shown): ',
    typed: 'hunter2\u007f3\r',
  })
  expect(seen).toContain('code 0')
  expect(seen).not.toContain('hunter')
  const { file, keyFile } = sealedSecretsIn(data)
  expect(readSealedSecrets(file, keyFile).get('a/b')).toBe('hunter3')
  const interrupted = await onTerminal(`secret set sealed:a/b --proxy-data ${data}`, {
    prompt: '(not shown): ',
    typed: 'other\u0003',
  })
  expect(interrupted).toContain('code 2')
  expect(readSealedSecrets(file, keyFile).get('a/b')).toBe('hunter3')
})

test.each([
  ['y\r', 'code 0', 2],
  ['\r', 'code 2', 1],
  ['n\r', 'code 2', 1],
  ['\u0004', 'code 2', 1],
])('apply asks; %j', async (typed, code, calls) => {
  const seen = await onTerminal(`apply ${join(scratch, 'resources.yaml')}`, {
    prompt: '[y/N] ',
    typed,
  })
  expect(seen).toContain('+ new-db')
  expect(seen).toContain(code)
  expect(api.calls).toHaveLength(calls)
})

test('colours only where they are wanted', async () => {
  expect(await onTerminal('grants')).toContain('\u001b[32mlive')
  expect(await onTerminal('grants', { environment: { NO_COLOR: '1' } })).not.toContain('\u001b')
  expect(await onTerminal('grants', { environment: { TERM: 'dumb' } })).not.toContain('\u001b')
  expect(await onTerminal('grants --json')).not.toContain('\u001b')
  expect(await onTerminal('grants | cat')).not.toContain('\u001b')
})

test('progress shows after a second, and is wiped before the answer', async () => {
  api.handlers = {
    ...usual,
    grants: async (call) => {
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      return usual.grants!(call)
    },
  }
  const seen = await onTerminal('grants')
  expect(seen).toMatch(/asking control … 1s/)
  const wiped = seen.lastIndexOf('\r\u001b[2K')
  expect(wiped).toBeGreaterThan(0)
  expect(seen.indexOf('GRANT')).toBeGreaterThan(wiped)
  expect(await onTerminal('grants --json')).not.toContain('asking')
})

test('waiting shows who may decide and the time left, and wipes it before the answer', async () => {
  const asking = startAsking()
  api.handlers = { ...usual, ...asking.handlers }
  const waiting = onTerminal('request orders-db --level write --reason x --wait')
  const [request] = await eventually(
    () => [...asking.requests.values()],
    (all) => all.length === 1,
  )
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  asking.decide(request!.id, 'approve', '')
  const seen = await waiting
  expect(seen).toMatch(/waiting for 1 more yes of leads; 59m 5\ds left … \ds/)
  expect(seen.lastIndexOf('\r\u001b[2K')).toBeLessThan(seen.indexOf('approved:'))
  expect(seen).toContain('code 0')
})

test('a reader that goes away is no mistake', async () => {
  expect(await onTerminal('help | head -1')).toMatch(/^Usage: sally.*\ncode 0\n$/)
})
