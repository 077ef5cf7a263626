/** The proxy's own policy before a control that lies, with every process real: a secret is shown as the policy says, or not at all. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bearerOf, openHttp1, type Told } from '../fakes/http-clients.ts'
import { startWebApp, type WebApp } from '../fakes/web-app.ts'
import { startHttpStack, type HttpPerson, type HttpStack, type StackApp } from '../http-stack.ts'

const name = 'shop'
const secret = 'the-secret-of-the-shop'
const shown = { kind: 'header' as const, name: 'X-Shop-Key' }

let app: WebApp
let stack: HttpStack
let dev: HttpPerson
let token: string

beforeAll(async () => {
  app = await startWebApp(name)
  const one: StackApp = { port: app.port, secret, http: { credential: shown } }
  stack = await startHttpStack({ apps: { [name]: one } })
  dev = await stack.person('dev')
  await stack.grant(dev, name)
  token = await dev.token()
})
afterAll(async () => {
  await stack?.stop()
  await app?.close()
})

/** One request over a connection of its own. */
async function ask(path: string) {
  const client = openHttp1(stack, name, bearerOf(token))
  try {
    return await client.ask(path)
  } finally {
    client.close()
  }
}

/** What control says of the app from here on. */
async function say(credential: NonNullable<StackApp['http']>['credential'], account = 'reader') {
  const resource = {
    ...{ name, protocol: 'http' as const, address: { host: '127.0.0.1', port: app.port } },
    ...{ tls: { mode: 'disable' as const }, http: { credential } },
    levels: { read: { account, secret: `sealed:${name}` } },
  }
  await stack.api.call('resourcesApply', { body: { file: { resources: [resource] } } })
}

const keyShown = (text: string): unknown =>
  (JSON.parse(text) as { headers: Record<string, string[]> }).headers['x-shop-key']

test('a control that was taken over cannot choose how a secret is shown', async () => {
  expect(keyShown((await ask('/before')).text)).toEqual([secret])
  for (const credential of [
    { kind: 'header' as const, name: 'x-request-id' },
    { kind: 'header' as const, name: 'user-agent' },
    { kind: 'bearer' as const },
    { kind: 'basic' as const },
    { kind: 'oauth' as const, tokenUrl: `https://127.0.0.1:${app.port}/token` },
  ]) {
    await say(credential)
    const lie = JSON.stringify(`not to be shown as ${JSON.stringify(credential)}`).slice(1, -1)
    await expect
      .poll(async () => {
        const told = await ask('/lied')
        expect(told.text).not.toContain(secret)
        const { code } = JSON.parse(told.text) as { code?: string }
        return [told.status, code, stack.log('proxy').includes(lie)]
      })
      .toEqual([502, 'secret-not-bound', true])
  }
  // What came before a lie did was shown it where it belongs, and nothing else was shown anything.
  for (const { headers } of app.arrived) {
    expect(headers.get('x-shop-key')).toEqual([secret])
    expect(headers.get('authorization')).toBeUndefined()
    expect([...headers].filter(([, values]) => values.join().includes(secret))).toHaveLength(1)
  }
  await say(shown)
  await expect.poll(async () => (await ask('/after')).status).toBe(200)
  expect(keyShown((await ask('/after')).text)).toEqual([secret])
})

test('SIGHUP has the proxy read its policy again, and a broken one changes nothing', async () => {
  const policyFile = join(stack.site.paths.proxy, 'policy.yaml')
  const policy = readFileSync(policyFile, 'utf8')
  const reload = (text: string): void => {
    writeFileSync(policyFile, text)
    process.kill(stack.pid('proxy'), 'SIGHUP')
  }
  const readings = () => stack.log('proxy').match(/the policy was (?:not )?read/g) ?? []
  const open = openHttp1(stack, name, bearerOf(token))
  const status = async (told: Promise<Told>): Promise<number> => (await told).status
  try {
    expect(await status(open.ask('/'))).toBe(200)

    reload(policy.replace('addresses', 'adresses'))
    await expect.poll(readings).toEqual(['the policy was not read'])
    expect(stack.log('proxy')).toMatch(/policy\.yaml:2:5: .*Unrecognized key: .*adresses/)
    expect(await status(open.ask('/'))).toBe(200)
    expect(await status(ask('/'))).toBe(200)

    // What is open goes with what is bound, and nothing new begins.
    reload('secrets: []\n')
    await expect.poll(readings).toHaveLength(2)
    expect(await status(ask('/'))).toBe(502)
    const arrived = app.arrived.length
    await expect(status(open.ask('/'))).resolves.not.toBe(200)
    expect(app.arrived).toHaveLength(arrived)

    reload(policy)
    await expect.poll(readings).toHaveLength(3)
    expect(await status(ask('/'))).toBe(200)
  } finally {
    open.close()
  }
})
