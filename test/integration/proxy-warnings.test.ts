/** A proxy without the native binding of ssh2: it works, and says so wherever its operator looks. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Check } from '../../control/cli/doctor/check.ts'
import { eventually } from '../demo-site.ts'
import { prepareTestSite, type OpenTestSite } from '../site.ts'
import { run } from '../stack.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-no-binding-'))
const preload = join(folder, 'no-binding.cjs')
const prepared = prepareTestSite({
  ...{ name: 'warnings', domain: 'access.test', protocols: ['ssh'] },
  environment: { NODE_OPTIONS: `--require ${preload}` },
})
let opened: OpenTestSite

beforeAll(async () => {
  blockBinding(true)
  opened = await prepared.open()
  await opened.startProxy({ policy: 'secrets: []\n' })
})
afterAll(async () => {
  await prepared.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** As if it had not been built for this Node. */
function blockBinding(isBlocked: boolean): void {
  const program = `const { _extensions: kinds } = require('node:module')
const load = kinds['.node']
kinds['.node'] = (module, file) => {
  if (file.endsWith('sshcrypto.node')) throw new Error('it was not built')
  return load(module, file)
}\n`
  writeFileSync(preload, isBlocked ? program : '')
}

async function metric(): Promise<string | undefined> {
  const ready = readFileSync(join(opened.site.paths.proxy, 'ready.json'), 'utf8')
  const { metricsPort } = JSON.parse(ready) as { metricsPort: number }
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  return /^sallyport_proxy_degraded\{protocol="ssh"\} (\d)$/m.exec(text)?.[1]
}

const sally = async (...words: string[]): Promise<string> =>
  (await run('control/cli/sally', words, { SALLY_HOME: opened.site.paths.adminHome })).output

async function checkedProxies(): Promise<Check[]> {
  const { checks } = JSON.parse(await sally('doctor', '--json')) as { checks: Check[] }
  return checks.filter(({ name }) => name === 'proxies')
}

test('without the binding log, metric, doctor and proxy list say so; with it none does', async () => {
  const warning = /without the native binding of ssh2/
  expect(opened.log('proxy')).toMatch(warning)
  expect(await metric()).toBe('1')
  const [check] = await eventually(checkedProxies, ([first]) => first?.state === 'warn')
  expect(check!.detail).toMatch(warning)
  expect(await sally('proxy', 'list')).toMatch(warning)

  blockBinding(false)
  await opened.stopProcess('proxy')
  await opened.startProcess('proxy')
  expect(await metric()).toBe('0')
  await eventually(checkedProxies, ([first]) => first?.state === 'ok')
  expect(await sally('proxy', 'list')).not.toMatch(warning)
})

test('a policy file that is behind is told of while the proxy runs, until it is mended', async () => {
  const file = join(opened.site.paths.proxy, 'policy.yaml')
  const warning = /policy file has a mistake[^]*the policy from before counts/
  const reload = (text: string): void => {
    writeFileSync(file, text)
    process.kill(opened.pid('proxy'), 'SIGHUP')
  }
  reload('secrets: [\n')
  const [check] = await eventually(checkedProxies, ([first]) => first?.state === 'warn')
  expect(check!.detail).toMatch(warning)
  expect(await sally('proxy', 'list')).toMatch(warning)
  reload('secrets: []\n')
  await eventually(checkedProxies, ([first]) => first?.state === 'ok')
  expect(await sally('proxy', 'list')).not.toMatch(warning)
  // By the same connection: nothing was taken for what it is not.
  expect(opened.log('proxy')).not.toMatch(/the link to control is down/)
})

test('who is neither admin nor auditor is not told of proxies', async () => {
  const { home } = await opened.person('ann')
  const { output } = await run('control/cli/sally', ['doctor', '--json'], { SALLY_HOME: home })
  const { checks } = JSON.parse(output) as { checks: Check[] }
  expect(checks.map(({ name }) => name)).toContain('signed in')
  expect(checks.map(({ name }) => name)).not.toContain('proxies')
})
