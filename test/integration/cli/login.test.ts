/** `sally login`, `whoami` and `logout` against the demo: its control, its identity provider, its people. */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { createHash, X509Certificate } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, run, startDemo, type DemoSite, type Finished } from '../../demo-site.ts'
import { openBrowser } from '../../../deploy/demo/browser.ts'

let site: DemoSite
let controlCa: string
let fingerprint: string

beforeAll(async () => {
  site = await startDemo()
  controlCa = join(site.home('dev'), 'control-ca.pem')
  const authority = new X509Certificate(readFileSync(controlCa))
  fingerprint = createHash('sha256').update(authority.raw).digest('hex')
})
afterAll(async () => {
  await site?.stop()
})

const passwordOf = (email: string): string =>
  site.ready.people.find((person) => person.email === email)!.password

/** Signs in at a link, as a person with a browser somewhere else. */
async function visit(link: string, email: string): Promise<string> {
  const authority = join(site.directory, 'data', 'identity-provider', 'ca.pem')
  const browser = openBrowser(readFileSync(authority, 'utf8'))
  let page = await browser.open(link)
  for (let step = 0; step < 6 && page.html.includes('<form'); step += 1) {
    const asked = page.html.includes('name="password"')
    page = await browser.submit(page, asked ? { email, password: passwordOf(email) } : {})
  }
  return page.url
}

interface Running {
  readonly finished: Promise<Finished>
  stderr(): string
}

/** Runs `sally` in a home of its own, and lets the test read what it says meanwhile. */
function sally(home: string, words: readonly string[], more: Record<string, string> = {}): Running {
  const [node, script] = site.ready.sally
  const environment = { ...process.env, SALLY_HOME: home, ...more }
  const child = spawn(node, [script, ...words], { env: environment })
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk) => (stdout += String(chunk)))
  child.stderr.on('data', (chunk) => (stderr += String(chunk)))
  const finished = new Promise<Finished>((resolve) =>
    child.on('close', (code) => resolve({ code, stdout, stderr })),
  )
  return { finished, stderr: () => stderr }
}
const here = (home: string, ...words: string[]): Promise<Finished> =>
  run(site.ready.sally[0], [site.ready.sally[1], ...words], { SALLY_HOME: home })

async function linkOf(running: Running, pattern: RegExp): Promise<string> {
  const text = await eventually(
    () => running.stderr(),
    (said) => pattern.test(said),
  )
  return pattern.exec(text)![0]
}

test('device flow in a terminal without a browser, then whoami, a session, and logout', async () => {
  const home = join(site.directory, 'fresh')
  const { url } = site.ready.control
  const running = sally(home, ['login', '--control', url, '--authority-sha256', fingerprint])
  const link = await linkOf(running, /https:\/\/localhost:\d+\/device\S+/)
  await visit(link, 'dev@example.test')
  const done = await running.finished
  expect(done.code, done.stderr).toBe(0)
  expect(done.stdout).toMatch(/dev@example\.test is signed in at/)
  expect(done.stderr).toMatch(/must show this code: [A-Z-]+/)

  const me = await here(home, 'whoami')
  expect(me.stdout).toMatch(/groups +engineers/)
  expect(me.stdout).toMatch(/login +at https:\/\/localhost:\d+, ends in 7h/)
  expect(me.stdout).toMatch(/assurance +pwd/)
  const [as, was] = await Promise.all([
    here(home, 'whoami', '--json'),
    site.sallyJson<{ person: { id: string } }>('dev', 'whoami'),
  ])
  // The same person as before the first sign-in: the demo links them.
  expect((JSON.parse(as.stdout) as typeof was).person.id).toBe(was.person.id)

  const connected = await here(home, 'connect', 'orders-db', '--', '-Atc', 'select 7')
  expect(connected.stdout, connected.stderr).toContain('7')

  const shown = await run('ssh-keygen', ['-L', '-f', join(home, 'ssh', 'id_ed25519-cert.pub')], {})
  expect(shown.stdout, shown.stderr).toContain('Key ID: "dev@example.test"')
  expect((await here(home, 'doctor')).stdout).toMatch(/ok +SSH proxy .*it knows you/)
  expect((await here(home, 'login', '--refresh')).code).toBe(0)
  const out = await here(home, 'logout')
  expect(out.code, out.stderr).toBe(0)
  expect(existsSync(join(home, 'key.pem'))).toBe(false)
  for (const words of [['whoami'], ['resources'], ['connect', 'orders-db'], ['logout']]) {
    const refused = await here(home, ...words)
    expect(refused.code).toBe(6)
    expect(refused.stderr).toContain('sally login')
  }
  // The other home of the same person goes on.
  expect((await site.sally('dev', 'whoami')).code).toBe(0)
})

test('a browser on this machine: it is opened, comes back, and only our answer counts', async () => {
  const home = join(site.directory, 'with-browser')
  const seen = join(site.directory, 'seen')
  const browser = join(site.directory, 'browser.sh')
  writeFileSync(
    browser,
    `#!/bin/sh\nprintf %s "$1" > "${seen}.part"; mv "${seen}.part" "${seen}"\n`,
  )
  chmodSync(browser, 0o755)
  const { url } = site.ready.control
  const words = ['login', '--control', url, '--ca', controlCa, '--browser']
  const running = sally(home, words, { BROWSER: browser })
  await eventually(() => existsSync(seen), Boolean)
  const back = await visit(readFileSync(seen, 'utf8'), 'oncall@example.test')
  expect(back).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/callback\?/)
  const wrongState = new URL(back)
  wrongState.searchParams.set('state', 'another')
  expect(await statusOf(wrongState.href)).toBe(404)
  expect(await statusOf(back, 'evil.example.test')).toBe(404)
  expect(await statusOf(back)).toBe(200)
  const done = await running.finished
  expect(done.code, done.stderr).toBe(0)
  expect(done.stdout).toContain('oncall@example.test is signed in')
})

test('control is never believed for answering first', async () => {
  const home = join(site.directory, 'careful')
  const { url } = site.ready.control
  const unknown = await here(home, 'login', '--control', url)
  expect(unknown).toMatchObject({ code: 2, stdout: '' })
  expect(unknown.stderr).toMatch(/--ca FILE[^]*--authority-sha256/)
  const wrong = await here(home, 'login', '--control', url, '--authority-sha256', '0'.repeat(64))
  expect(wrong.code).toBe(5)
  expect(wrong.stderr).toMatch(/not the control with this fingerprint/)
  expect((await here(home, 'login')).stderr).toMatch(/sally login --control/)
  // A home of another control says nothing about this one.
  mkdirSync(home, { recursive: true })
  const config = readFileSync(join(site.home('dev'), 'config.json'), 'utf8')
  writeFileSync(join(home, 'config.json'), config.replace(url, 'https://control.example.com'))
  writeFileSync(join(home, 'control-ca.pem'), readFileSync(controlCa))
  expect((await here(home, 'login', '--control', url)).code).toBe(2)
  expect(existsSync(join(home, 'key.pem'))).toBe(false)
})

test('a no at the provider is a no here', async () => {
  const home = join(site.directory, 'fresh')
  const running = sally(home, ['login', '--json'])
  const line = await linkOf(running, /\{"device".*\}\n/)
  const { device } = JSON.parse(line) as { device: { verificationUrlComplete: string } }
  const authority = join(site.directory, 'data', 'identity-provider', 'ca.pem')
  const browser = openBrowser(readFileSync(authority, 'utf8'))
  const page = await browser.open(device.verificationUrlComplete)
  await browser.submit(page, { abort: 'yes' })
  const done = await running.finished
  expect(done.code).toBe(6)
  expect(done.stderr).toContain('"code":"sign-in-refused"')
  expect(done.stdout).toBe('')
})

function statusOf(address: string, host?: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = host === undefined ? {} : { host }
    get(address, { headers, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).on('error', reject)
  })
}
