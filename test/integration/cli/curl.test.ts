/** `sally curl`, `sally connect` of an app and `sally proxy-token`, with a curl that tells what it was given. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ResourceView } from '../../../control/api/shapes.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { dev, ordersDb, shopHandlers } from '../../fakes/shop.ts'
import { runSally } from '../../run-sally.ts'

const wiki: ResourceView = {
  ...ordersDb,
  ...{ name: 'wiki', protocol: 'http', hostname: 'wiki.access.localhost', tags: {} },
}
const hourMs = 3_600_000

let api: FakeApi
let scratch: string
let home: string
let usual: FakeHandlers
/** A PATH whose curl prints its words, one a line, and ends with 22. */
let path: string

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-curl-'))
  usual = {
    ...(await shopHandlers()),
    resources: () => ({ items: [ordersDb, wiki], next: null }),
  }
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'), { httpPort: 18_443 })
  const programs = join(scratch, 'bin')
  mkdirSync(programs)
  writeFileSync(join(programs, 'curl'), '#!/bin/sh\nprintf "%s\\n" "$@"\nexit 22\n')
  chmodSync(join(programs, 'curl'), 0o755)
  path = `${programs}:${process.env['PATH'] ?? ''}`
})
beforeEach(() => {
  api.handlers = usual
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

const quiet = ['--silent', '--show-error']
const ours = (): string[] => [
  ...['--cacert', join(home, 'ca.pem'), '--cert', join(home, 'cert.pem')],
  ...['--key', join(home, 'key.pem'), '--proto', '=https', '--proto-redir', '=https'],
  ...['--resolve', 'wiki.access.localhost:18443:127.0.0.1'],
]
async function words(...commandLine: string[]): Promise<string[]> {
  const run = await runSally(commandLine, { home, environment: { PATH: path } })
  expect(run).toMatchObject({ code: 22, stderr: '' })
  return run.stdout.trimEnd().split('\n')
}

describe('sally curl', () => {
  test('completes the URL, passes the rest on, and ends as curl does', async () => {
    const given = ['wiki.access.localhost/pages', '-sS', '-d', 'title=News']
    expect(await words('curl', ...given)).toEqual([
      ...ours(),
      ...['https://wiki.access.localhost:18443/pages', '-sS', '-d', 'title=News'],
    ])
    // Control is not asked: curl hears from the proxy whether there is a grant.
    expect(api.calls).toEqual([])
  })

  test('options of curl are curl’s, also those that sally has', async () => {
    const given = ['-s', 'wiki.access.localhost', '--json', '{"help":1}', '--help', '-d', '--']
    expect((await words('curl', ...given)).slice(ours().length)).toEqual([
      ...['-s', 'https://wiki.access.localhost:18443/', '--json', '{"help":1}', '--help'],
      ...['-d', '--'],
    ])
  })

  test('what is sent stays as it is, whatever it looks like', async () => {
    const given = ['-d', 'wiki.access.localhost', '-XPUT', 'wiki.access.localhost/x']
    expect((await words('curl', ...given)).slice(ours().length)).toEqual([
      ...quiet,
      ...['-d', 'wiki.access.localhost', '-XPUT', 'https://wiki.access.localhost:18443/x'],
    ])
  })

  test('with --json in front it is printed', async () => {
    const run = await runSally(['--json', 'curl', 'wiki.access.localhost'], { home })
    expect(JSON.parse(run.stdout)).toEqual({
      command: ['curl', ...ours(), ...quiet, 'https://wiki.access.localhost:18443/'],
      env: {},
    })
  })

  test.each<[string, string[], RegExp]>([
    ['no URL', ['-s'], /no URL of an app.*\n.*<app>\.access\.localhost/],
    ['nothing', [], /no URL of an app/],
    ['a name alone', ['-X', 'PUT', 'wiki/x'], /sally curl wiki\.access\.localhost\/x;/],
    ['another site', ['https://evil.example/'], /not an app of access\.localhost.*certificate/],
    [
      'another site besides',
      ['wiki.access.localhost', '-s', 'https://evil.example/'],
      /not an app/,
    ],
    [
      'another site by name',
      ['wiki.access.localhost', '--url', 'https://evil.example'],
      /not an app/,
    ],
    ['no TLS', ['http://wiki.access.localhost/'], /by https.*\n.*sally curl https:\/\/wiki/],
  ])('%s is refused before curl starts', async (_, given, says) => {
    const run = await runSally(['curl', ...given], { home, environment: { PATH: path } })
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toMatch(says)
  })

  test('without curl, and with a certificate that has ended', async () => {
    const none = await runSally(['curl', 'wiki.access.localhost'], {
      ...{ home, environment: { PATH: scratch } },
    })
    expect(none.code).toBe(1)
    expect(none.stderr).toContain('apt-get install curl')
    const old = await makeHome(api, join(scratch, 'old'), { httpPort: 1, validForMs: 1 })
    const ended = await runSally(['curl', 'wiki.access.localhost'], { home: old })
    expect(ended.code).toBe(6)
  })
})

describe('sally connect wiki', () => {
  test('opens the front page, or the path that is named, at a level', async () => {
    expect(await words('connect', 'wiki')).toEqual([
      ...ours(),
      ...quiet,
      'https://wiki.access.localhost:18443/',
    ])
    const line = ['connect', 'wiki', '--level', 'write', '--', '/pages?x=1', '-d', 'title=News']
    expect(await words(...line)).toEqual([
      ...ours(),
      ...quiet,
      ...['--header', 'Sallyport-Level: write', 'https://wiki.access.localhost:18443/pages?x=1'],
      ...['-d', 'title=News'],
    ])
  })

  test('a path leads nowhere else', async () => {
    expect(await words('connect', 'wiki', '--', '//evil.example/')).toEqual([
      ...ours(),
      ...quiet,
      'https://wiki.access.localhost:18443//evil.example/',
    ])
  })

  test('an app has no databases', async () => {
    const run = await runSally(['connect', 'wiki', '--dbname', 'shop'], { home })
    expect(run).toMatchObject({ code: 2 })
    expect(run.stderr).toContain('wiki is reached by HTTP and has no databases')
  })
})

describe('sally proxy-token', () => {
  const makes: FakeHandlers['tokenMake'] = ({ body }) => {
    const { name, scope, forMs } = body as { name: string; scope: 'apps'; forMs: number }
    const madeAtMs = systemClock.wallMs()
    return {
      ...{ id: '0190cccc-0000-7000-8000-000000000001', kind: 'api', personEmail: dev.email },
      ...{ state: 'live', madeAtMs, expiresAtMs: madeAtMs + forMs, usedAtMs: null },
      ...{ revokedAtMs: null, resource: null, level: null, sessionId: null, name, scope },
      token: 'spa_secret',
    }
  }

  test('prints the token alone, and says how to end it', async () => {
    api.handlers = { ...usual, tokenMake: makes }
    const run = await runSally(['proxy-token', '--for', '2h'], { home })
    expect(run).toMatchObject({ code: 0, stdout: 'spa_secret\n' })
    expect(run.stderr).toContain('sally token revoke 0190cccc-0000-7000-8000-000000000001')
    expect(api.calls.at(-1)?.body).toMatchObject({ scope: 'apps', forMs: 2 * hourMs })
    await runSally(['proxy-token'], { home })
    expect(api.calls.at(-1)?.body).toMatchObject({ scope: 'apps', forMs: hourMs })
    const json = await runSally(['proxy-token', '--json'], { home })
    expect(JSON.parse(json.stdout)).toMatchObject({ token: 'spa_secret', scope: 'apps' })
    expect(json.stderr).toBe('')
  })

  test.each(['soon', '-1h', '', '30s', '100d'])('%s is no life for it', async (life) => {
    const run = await runSally(['proxy-token', `--for=${life}`], { home })
    expect(run).toMatchObject({ code: 2, stdout: '' })
    expect(run.stderr).toMatch(/not a duration|1m at least and 90d at most/)
  })
})
