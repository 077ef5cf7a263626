/**
 * The demo's wiki in a real Chromium, as a developer uses it: asked for, read, written to, cut off while it is open, asked for again. And what
 * other sites can not do to them. With SALLYPORT_SCREENSHOTS=DIR, pictures of each page are put there.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDemo, type DemoSite } from '../demo-site.ts'
import { openChromium, type TestBrowser } from './chromium.ts'

const pictures = process.env['SALLYPORT_SCREENSHOTS']
const sessionCookie = '__Host-sallyport'
const firstAsked = '/pages/welcome?x=1'

let demo: DemoSite
let browser: TestBrowser
/** The developer's, all the way through. */
let page: Page
let wiki: string
let consoleOrigin: string
let providerOrigin: string
const seen: string[] = []

beforeAll(async () => {
  demo = await startDemo()
  const { caFile, control, console: atConsole, proxy } = demo.ready
  expect(atConsole.url).toBe(control.url)
  consoleOrigin = new URL(atConsole.url).origin
  wiki = `https://wiki.access.localhost:${proxy.ports.http}`
  browser = await openChromium([
    caFile,
    join(demo.home('dev'), 'control-ca.pem'),
    join(demo.directory, 'data', 'identity-provider', 'ca.pem'),
  ])
  page = await browser.context.newPage()
  page.setDefaultTimeout(20_000)
})
afterAll(async () => {
  await browser?.close()
  await demo?.stop()
})

/** Nothing runs out of a small window; and the pictures, where somebody wants to look at them. */
async function look(name: string): Promise<void> {
  seen.push(name)
  const number = String(seen.length).padStart(2, '0')
  const looks = [
    ['light', 'light', 1_100, 800],
    ['dark', 'dark', 1_100, 800],
    ['narrow', 'light', 360, 740],
    ['narrow-dark', 'dark', 360, 740],
  ] as const
  for (const [look, colorScheme, width, height] of looks) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width, height })
    const tooWide = await page.evaluate(
      'document.documentElement.scrollWidth - document.documentElement.clientWidth',
    )
    expect(tooWide, `${name} at ${width} px`).toBe(0)
    const path = join(pictures ?? '', `${number}-${name}-${look}.png`)
    if (pictures !== undefined) await page.screenshot({ path, fullPage: true })
  }
  await page.emulateMedia({ colorScheme: null })
  await page.setViewportSize({ width: 1_100, height: 800 })
}

async function signInAtProvider(where: Page, who: string): Promise<void> {
  const { email, password } = demo.ready.people.find((one) => one.email.startsWith(`${who}@`))!
  await where.getByLabel('E-mail').fill(email)
  await where.getByLabel('Password').fill(password)
  await where.getByRole('button', { name: 'Sign in' }).click()
}

async function ask(reason: string): Promise<void> {
  await page.getByLabel('Why').fill(reason)
  await page.getByRole('button', { name: 'Request access' }).click()
}

const heading = (text: string | RegExp) => page.getByRole('heading', { level: 1, name: text })
const text = async (): Promise<string> => page.locator('main').innerText()

async function sessionOf(context: BrowserContext): Promise<string | undefined> {
  const cookies = await context.cookies(wiki)
  return cookies.find(({ name }) => name === sessionCookie)?.value
}

test('who comes to an app is asked who they are, then what they need it for', async () => {
  await page.goto(consoleOrigin)
  await heading('Internal apps').waitFor()
  await look('welcome')
  await page.goto(wiki + firstAsked)
  await page.getByLabel('Password').waitFor()
  providerOrigin = new URL(page.url()).origin
  expect([wiki, consoleOrigin]).not.toContain(providerOrigin)
  await look('provider')
  await signInAtProvider(page, 'dev')
  await heading('No access to wiki now').waitFor()
  expect(new URL(page.url()).origin).toBe(consoleOrigin)
  // Each flow that would let them in is there.
  expect(await text()).toMatch(/read for up to 8h: at once[^]*write for up to 2h: one of .*leads/)
  expect(await sessionOf(browser.context)).toBeUndefined()
  await look('no-grant')
})

test('a reason and one click lead to the address first asked for', async () => {
  await ask('ticket 7')
  await page.waitForURL(wiki + firstAsked)
  await heading('Welcome').waitFor()
  expect(await page.locator('#who').innerText()).toBe('dev@example.test')
  const cookies = await browser.context.cookies(wiki)
  expect(cookies).toHaveLength(1)
  expect(cookies[0]).toMatchObject({
    ...{ name: sessionCookie, domain: 'wiki.access.localhost', path: '/' },
    ...{ httpOnly: true, secure: true, sameSite: 'Lax' },
  })
  // None of ours is the app's to see, and who asks is said by us.
  const echoed = await page.evaluate(
    `fetch('/api/echo', { headers: { 'x-forwarded-user': 'lead@example.test' } }).then((answer) => answer.json())`,
  )
  expect(echoed).toMatchObject({ who: 'dev@example.test', level: 'read' })
  expect(JSON.stringify(echoed)).not.toContain(sessionCookie)
  await look('page')
})

async function goLive(): Promise<void> {
  await page.goto(`${wiki}/live`)
  await page.locator('#clock', { hasText: 'UTC' }).waitFor()
  await page.locator('#log', { hasText: 'dev@example.test is here' }).waitFor()
}

test('a WebSocket and an event stream work', async () => {
  await goLive()
  await page.getByLabel('Say something').fill('hello from Chromium')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.locator('#log', { hasText: 'dev@example.test: hello from Chromium' }).waitFor()
  const before = await page.locator('#clock').innerText()
  await page.waitForFunction(`document.querySelector('#clock').textContent !== '${before}'`)
  await look('live')
})

async function edit(words: string): Promise<void> {
  await page.goto(`${wiki}/pages/welcome/edit`)
  await page.getByLabel('Text').fill(words)
  await page.getByRole('button', { name: 'Save' }).click()
}

test('a form that needs more is refused, and says how to get it', async () => {
  await edit('written without asking')
  await heading('This needs level write').waitFor()
  expect(await text()).toContain('What you sent did not reach the app.')
  expect(await text()).toContain('sally request wiki --level write')
  await look('level')
  await page.getByRole('link', { name: 'Ask for level write' }).click()
  await heading('This needs write on wiki').waitFor()
  expect(await text()).toMatch(/You have read for another/)
  expect(await page.getByLabel('Level').inputValue()).toBe('write')
  await look('ask-write')
})

/** A look of the page that waits, at where it waits. */
const looked = () =>
  page.waitForResponse((answer) => new URL(answer.url()).searchParams.get('asked') === '1')

/** Focus and selection outlast that the page looks again, and that nothing answers. */
async function staysInItsPlace(): Promise<void> {
  await page.evaluate(`window.isSamePage = true
    getSelection().selectAllChildren(document.querySelector('pre'))
    document.querySelector('main p a').focus()
    document.querySelector('dd').textContent = 'somewhat out of date'`)
  const trouble = page.getByText('Sallyport does not answer at the moment')
  await page.getByText('somewhat out of date').waitFor({ state: 'hidden' })
  expect(await trouble.isVisible()).toBe(false)
  await page.context().setOffline(true)
  await trouble.waitFor()
  await look('waiting-offline')
  await page.context().setOffline(false)
  await trouble.waitFor({ state: 'hidden' })
  await looked()
  const place = await page.evaluate(
    `[window.isSamePage, document.activeElement.textContent, getSelection().toString()]`,
  )
  expect(place).toEqual([true, 'Look again now', expect.stringContaining('sally approve ')])
  // Without scripts it loads itself again.
  const plain = await browser.context.browser()!.newContext({
    javaScriptEnabled: false,
    storageState: await browser.context.storageState(),
  })
  const tab = await plain.newPage()
  await tab.goto(page.url())
  await tab.waitForRequest((request) => request.isNavigationRequest())
  await plain.close()
}

test('the page waits for somebody’s yes, and goes back to the form', async () => {
  await ask('fix a typo')
  await heading('Waiting for access to wiki').waitFor()
  expect(await text()).toMatch(/one yes of .*leads/)
  await look('waiting')
  await staysInItsPlace()
  const request = (await demo.sally('lead', 'requests', '--decide', '--ids')).stdout.trim()
  expect(request).toMatch(/^[0-9a-f-]{36}$/)
  expect((await demo.sally('dev', 'approve', request)).code).not.toBe(0)
  expect(await demo.sally('lead', 'approve', request)).toMatchObject({ code: 0 })
  await page.waitForURL(`${wiki}/pages/welcome/edit`)
  expect(await page.getByLabel('Text').inputValue()).toContain('no sign-in of its own')
  await edit('written by Chromium')
  await page.waitForURL(`${wiki}/pages/welcome`)
  expect(await text()).toContain('written by Chromium')
  await look('written')
})

async function revokeAll(reason: string): Promise<void> {
  const { stdout } = await demo.sally('admin', 'grants', '--person', 'dev@example.test', '--ids')
  for (const id of stdout.trim().split('\n')) {
    expect(await demo.sally('admin', 'revoke', id, '--reason', reason)).toMatchObject({ code: 0 })
  }
}

test('a revocation ends what is open, with the reason', async () => {
  await goLive()
  await revokeAll('incident over')
  await page
    .locator('#log', { hasText: 'closed (1008): your access to "wiki" was revoked: incident over' })
    .waitFor()
  await page.locator('#clock', { hasText: 'stopped' }).waitFor()
  await look('cut')
  await page.reload()
  await heading('Your access has ended').waitFor()
  expect(await text()).toContain('was revoked: incident over')
  await look('ended')
})

test('with the cookie of before, another connection gets nothing but the way to ask', async () => {
  const other = await browser.context.browser()!.newContext()
  await other.addCookies(await browser.context.cookies(wiki))
  const before = page
  page = await other.newPage()
  try {
    await page.goto(`${wiki}/live`)
    await heading('No access now').waitFor()
    const way = page.getByRole('link', { name: 'Ask for access' })
    expect(await way.getAttribute('href')).toContain('to=%2Flive')
    expect(await text()).toMatch(
      /shows who can let you in[^]*sally request wiki --level read --reason TEXT --wait/,
    )
    await look('no-access')
  } finally {
    page = before
    await other.close()
  }
})

test('asking again leads back to where they were', async () => {
  await page.getByRole('link', { name: 'Ask again' }).click()
  await heading('No access to wiki now').waitFor()
  expect(await text()).toMatch(/was ended .* by admin@example\.test: “incident over”/)
  // What they were looking at takes no more than to read.
  expect(await page.getByLabel('Level').inputValue()).toBe('read')
  await look('ask-again')
  await ask('not done yet')
  await page.waitForURL(`${wiki}/live`)
  await page.locator('#clock', { hasText: 'UTC' }).waitFor()
  await page.goto(consoleOrigin)
  await page.getByRole('link', { name: 'Open wiki' }).waitFor()
  await look('home')
})

test('links lead to no other site, and no other app’s', async () => {
  const elsewhere = ['//evil.localhost/', 'https://evil.localhost/', '/\\evil.localhost', '/%0aa']
  for (const to of elsewhere) {
    await page.goto(`${wiki}/.sallyport/open?level=read&to=${encodeURIComponent(to)}`)
    expect(new URL(page.url()).origin, to).toBe(wiki)
    await page.goto(`${consoleOrigin}/sign-in?next=${encodeURIComponent(to)}`)
    expect(new URL(page.url()).origin, to).toBe(consoleOrigin)
  }
  await page.goto(`${wiki}/.sallyport/finish?code=${'a'.repeat(43)}&visit=01234567`)
  await heading('This sign-in cannot go on').waitFor()
  await look('finish')
  await page.goto(wiki.replace('wiki.', 'nothing.'))
  await heading('There is nothing here').waitFor()
  await look('unknown')
  await page.goto(`${wiki}/.sallyport/anything`)
  await heading('Nothing here').waitFor()
  await look('not-found')
  // The refusal is of no origin, and leads back all the same.
  await page.getByRole('link', { name: 'Open the app' }).click()
  expect(await page.locator('#who').innerText()).toBe('dev@example.test')
  const seenByApp = page.evaluate(`new Promise((done) => {
    const other = open('/.sallyport/finish?code=${'a'.repeat(43)}&visit=01234567')
    const look = () => {
      try {
        if (other.location.href !== 'about:blank') return done(other.location.href)
      } catch (error) {
        return done(error.name)
      }
      setTimeout(look, 20)
    }
    look()
  })`)
  expect(await seenByApp).toBe('SecurityError')
  await page.context().pages().at(-1)!.close()
})

test('nobody is signed in by somebody else’s link', async () => {
  const attacker = await browser.context.browser()!.newContext({ ignoreHTTPSErrors: true })
  const tab = await attacker.newPage()
  let link = ''
  // The way back to the app, with a code that is still good, is kept from their own browser.
  await attacker.route(/\/apps\/open/, async (route) => {
    const answer = await route.fetch({ maxRedirects: 0 })
    const { location = '' } = answer.headers()
    if (!location.startsWith(wiki)) return route.fulfill({ response: answer })
    link = location
    return route.abort()
  })
  await tab.goto(wiki)
  await signInAtProvider(tab, 'oncall')
  await tab.getByLabel('Why').fill('to share it')
  await tab.getByRole('button', { name: 'Request access' }).click()
  await expect.poll(() => link).toContain('/.sallyport/finish?code=')
  const before = await sessionOf(browser.context)
  await page.goto(link)
  await heading('This sign-in cannot go on').waitFor()
  expect(await sessionOf(browser.context)).toBe(before)
  await page.goto(wiki)
  expect(await page.locator('#who').innerText()).toBe('dev@example.test')
  // What is still on its way there is nobody's any more.
  await attacker.unrouteAll({ behavior: 'ignoreErrors' })
  await attacker.close()
})

/** Of another site: posts a form, reads, opens a WebSocket, shows a page in its own. */
const evilPage = `<!doctype html><title>evil</title><body><script>
function send(action, fields) {
  const form = document.createElement('form')
  form.method = 'post'
  form.action = action
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement('input')
    field.name = name
    field.value = value
    form.append(field)
  }
  document.body.append(form)
  form.submit()
}
const read = (url) =>
  fetch(url, { credentials: 'include' }).then(() => 'read', () => 'refused')
const open = (url) =>
  new Promise((done) => {
    const socket = new WebSocket(url)
    socket.onopen = () => done('open')
    socket.onerror = () => done('refused')
  })
const show = (url) =>
  new Promise((done) => {
    const frame = document.createElement('iframe')
    frame.src = url
    frame.onload = () => done()
    document.body.append(frame)
  })
</script>`

test('another site can neither act for them nor read what they see', async () => {
  const site = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end(evilPage)
  }).listen(0, '127.0.0.1')
  await once(site, 'listening')
  const evil = `http://evil.localhost:${(site.address() as AddressInfo).port}`
  try {
    const posts = [
      [`${wiki}/api/echo`, { words: 'forged' }],
      [`${wiki}/.sallyport/sign-out`, {}],
      [`${consoleOrigin}/sign-out`, { token: 'guess' }],
      [`${consoleOrigin}/apps/request`, { level: 'read', reason: 'x', forMs: '60000' }],
    ] as const
    for (const [action, fields] of posts) {
      await page.goto(evil)
      const answered = page.waitForResponse((response) => response.url() === action)
      await page.evaluate(`send(${JSON.stringify(action)}, ${JSON.stringify(fields)})`)
      expect([401, 403], action).toContain((await answered).status())
      await page.waitForURL(action)
    }
    await page.goto(evil)
    expect(await page.evaluate(`read('${wiki}/api/echo')`)).toBe('refused')
    expect(await page.evaluate(`open('${wiki.replace('https', 'wss')}/socket')`)).toBe('refused')
    await page.evaluate(`show('${consoleOrigin}')`)
    // The frame is there before what it shows.
    await expect.poll(() => page.frames().at(-1)!.url()).toMatch(/^chrome-error:/)
  } finally {
    site.close()
    site.closeAllConnections()
  }
  await page.goto(wiki)
  expect(await page.locator('#who').innerText()).toBe('dev@example.test')
})

test('signing out everywhere ends what is open; then they are asked who they are', async () => {
  await goLive()
  const other = await browser.context.newPage()
  await other.goto(`${wiki}/.sallyport/sign-out`)
  const live = page
  page = other
  await heading('Sign out?').waitFor()
  await look('sign-out')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await heading('Sign out everywhere?').waitFor()
  expect(await sessionOf(browser.context)).toBeUndefined()
  await look('sign-out-everywhere')
  await page.getByRole('button', { name: 'Sign out' }).click()
  await heading('You are signed out').waitFor()
  await look('signed-out')
  await live.locator('#log', { hasText: 'the connection was closed (1008)' }).waitFor()
  // The provider may still know them: control asks for nothing more than it did.
  await page.getByRole('link', { name: 'Sign out there too' }).click()
  await page.waitForURL((url) => url.origin === providerOrigin)
  await page.getByRole('button').first().click()
  await page.waitForLoadState()
  await look('provider-signed-out')
  await page.goto(`${wiki}/pages/on-call`)
  await page.getByLabel('Password').waitFor()
  await signInAtProvider(page, 'dev')
  await page.waitForURL(`${wiki}/pages/on-call`)
  expect(await page.locator('#who').innerText()).toBe('dev@example.test')
})

test('the app’s page hears of the end before it comes, and of the end', async () => {
  await revokeAll('another one')
  const grant = ['grant', 'dev@example.test', 'wiki', '--level', 'read', '--for', '62s']
  expect(await demo.sally('admin', ...grant, '--reason', 'a minute')).toMatchObject({ code: 0 })
  await page.goto(`${wiki}/.sallyport/open?level=read&to=%2Flive`)
  await page.locator('#clock', { hasText: 'UTC' }).waitFor()
  await page.evaluate(`window.told = []
    const bar = new EventSource('/.sallyport/events')
    for (const name of ['session', 'warning', 'end'])
      bar.addEventListener(name, ({ data }) => window.told.push([name, JSON.parse(data)]))
    bar.onerror = () => bar.close()`)
  type Told = [string, Record<string, unknown>][]
  const told = () => page.evaluate<Told>('window.told')
  const names = async (): Promise<string[]> => (await told()).map(([name]) => name)
  // A minute before.
  await expect.poll(names).toContain('warning')
  const [session, warning] = await told()
  expect(session).toEqual(['session', { level: 'read', expiresAtMs: expect.any(Number) as number }])
  expect(warning).toEqual(['warning', { line: expect.stringMatching(/"wiki" ends in/) as string }])
  const echoed = await page.evaluate<Record<string, string>>(
    `fetch('/api/echo').then(({ headers }) => Object.fromEntries(headers))`,
  )
  expect(echoed['sallyport-warning']).toBe(warning![1]['line'])
  expect(Date.parse(echoed['sallyport-expires-at']!)).toBe(session![1]['expiresAtMs'])
  await revokeAll('the minute is over')
  const message = expect.stringContaining('was revoked: the minute is over') as string
  await expect.poll(async () => (await told()).at(-1)).toMatchObject(['end', { message }])
  expect((await told()).at(-1)![1]).toMatchObject({ reason: 'grant-revoked' })
  // The app’s own stream ends as well, and its WebSocket says why.
  await page.locator('#clock', { hasText: 'stopped' }).waitFor()
  await page.locator('#log', { hasText: 'closed (1008)' }).waitFor()
})

test('all of it was recorded', async () => {
  const { stdout } = await demo.sally('auditor', 'audit', 'search', '--resource', 'wiki', '--json')
  for (const words of ['POST', '/pages/welcome', '403', 'hello from Chromium']) {
    expect(stdout).toContain(words)
  }
  const actions = await demo.sally('auditor', 'audit', 'actions', '--json')
  expect(actions.stdout).toContain('app.signed-in')
  expect(actions.stdout + actions.stderr + stdout).not.toContain(sessionCookie)
})
