/** Commands that write: resources, the sealed file of a proxy's secrets, the home of a person. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { issuePersonCertificate } from '../../../certs/issue-person.ts'
import { readSealedSecrets, sealedSecretsIn } from '../../../control/api/sealed-secrets.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { dev, shopHandlers } from '../../fakes/shop.ts'
import { runSally, type SallyRun } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
let usual: FakeHandlers

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-changes-'))
  usual = await shopHandlers()
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'), { email: 'admin@example.test' })
})
beforeEach(() => {
  api.handlers = usual
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (...commandLine: string[]): Promise<SallyRun> => runSally(commandLine, { home })
const resourcesYaml = `resources:
  - name: orders-db
    protocol: postgres
    address: { host: 127.0.0.1, port: 5432 }
    levels: { read: { account: reader, secret: "sealed:orders-db/read" } }
`

describe('apply', () => {
  const file = (): string => join(scratch, 'resources.yaml')
  const appliedVersions = () =>
    api.calls.map(
      ({ body }) => body as { dryRun: boolean; prune: boolean; expectedVersion?: number },
    )

  test('plans, applies exactly that plan, and never without a yes', async () => {
    writeFileSync(file(), resourcesYaml)
    const refused = await sally('apply', file())
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(
      /~ orders-db \(cuts 2 live sessions\)[^]*address\.port: 5432 → 5433/,
    )
    expect(refused.stderr).toContain('--yes')
    expect(appliedVersions()).toMatchObject([{ dryRun: true }])
    const dry = await sally('apply', file(), '--dry-run', '--json')
    expect(JSON.parse(dry.stdout)).toMatchObject({ applied: false, version: 3 })
    api.calls.length = 0
    const done = await sally('apply', file(), '--yes', '--prune')
    expect(done).toMatchObject({ code: 0 })
    expect(done.stdout).toMatch(/\+ new-db[^]*applied/)
    expect(appliedVersions()).toMatchObject([
      { dryRun: true, prune: true },
      { dryRun: false, prune: true, expectedVersion: 3 },
    ])
  })

  test('reads standard input, and asks nobody about a broken file', async () => {
    const piped = await runSally(['apply', '-', '--yes', '--json'], { home, input: resourcesYaml })
    expect(JSON.parse(piped.stdout)).toMatchObject({ applied: true })
    api.calls.length = 0
    writeFileSync(file(), resourcesYaml.replace('5432', '"5432"'))
    const broken = await sally('apply', file(), '--yes', '--json')
    expect(broken.code).toBe(2)
    expect(JSON.parse(broken.stderr)).toMatchObject({
      error: {
        code: 'config-invalid',
        issues: [{ path: 'resources[0].address.port', line: 4, column: 39 }],
      },
    })
    expect((await sally('apply', file())).stderr).toContain('4:39 resources[0].address.port')
    expect(api.calls).toEqual([])
  })
})

describe('secrets', () => {
  test('come from standard input, are kept sealed, and are listed by name', async () => {
    const data = join(scratch, 'proxy')
    const set = (reference: string, input: string) =>
      runSally(['secret', 'set', reference, '--proxy-data', data, '--json'], { input })
    expect((await set('sealed:orders-db/read', 'hunter2 ünï\n')).code).toBe(0)
    expect(JSON.parse((await set('sealed:orders-db/read', 'hunter3')).stdout)).toMatchObject({
      replaced: true,
    })
    expect((await set('sealed:other', 'x')).code).toBe(0)
    const { file, keyFile } = sealedSecretsIn(data)
    expect([...readSealedSecrets(file, keyFile)]).toEqual([
      ['orders-db/read', 'hunter3'],
      ['other', 'x'],
    ])
    expect(readFileSync(file).includes('hunter')).toBe(false)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const list = await runSally(['secret', 'list', '--proxy-data', data])
    expect(list.stdout).toBe('sealed:orders-db/read\nsealed:other\n')
    expect((await set('env:PASSWORD', 'x')).code).toBe(2)
    expect((await set('sealed:empty', '\n')).code).toBe(2)
    expect(readSealedSecrets(file, keyFile).size).toBe(2)
  })
})

describe('people certificate', () => {
  test('makes a home that works, and does not overwrite one', async () => {
    api.handlers = {
      ...usual,
      certificateIssue: async ({ params, body }) => {
        const { requestPem } = body as { requestPem: string }
        const issued = await issuePersonCertificate(api.people, {
          requestPem,
          realm: 'default',
          personId: String(params['id']),
          email: dev.email,
          validForMs: 3_600_000,
          clock: systemClock,
        })
        return {
          certificatePem: issued.certificatePem,
          serial: issued.serial,
          expiresAtMs: issued.expiresAtMs,
          serverAuthoritiesPem: api.proxies.certificatePem,
          controlAuthorityPem: api.control.certificatePem,
        }
      },
    }
    const made = join(scratch, 'made')
    const line = ['people', 'certificate', dev.email, '--home', made]
    const first = await sally(...line)
    expect(first).toMatchObject({ code: 0 })
    expect(statSync(made).mode & 0o777).toBe(0o700)
    expect(statSync(join(made, 'key.pem')).mode & 0o777).toBe(0o600)
    const who = await runSally(['whoami', '--json'], { home: made })
    expect(JSON.parse(who.stdout)).toMatchObject({ person: { email: dev.email } })
    expect((await sally(...line)).code).toBe(7)
    const key = readFileSync(join(made, 'key.pem'), 'utf8')
    const replaced = await sally(...line, '--replace', '--json')
    expect(JSON.parse(replaced.stdout)).toMatchObject({ home: made, email: dev.email })
    expect(readFileSync(join(made, 'key.pem'), 'utf8')).not.toBe(key)
    expect((await runSally(['whoami'], { home: made })).code).toBe(0)
  })
})
