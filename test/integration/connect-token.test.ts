/** One-time tokens through a real proxy with real clients: what each client sees, and that a token is good for one. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SessionView } from '../../control/api/shapes.ts'
import { eventually } from '../demo-site.ts'
import { startRelay, type Relay } from '../fakes/relay.ts'
import { psql, run, stackDatabase, stackDomain, stackResource, startStack } from '../stack.ts'
import type { Stack, StackPerson } from '../stack.ts'

/** Debian's own: psycopg is installed for it, and others may be first on the path. */
const python = '/usr/bin/python3'
const hourMs = 3_600_000
const host = `${stackResource}.${stackDomain}`
const refused = /FATAL: .*one-time token was not accepted/

let stack: Stack
let relay: Relay
let dev: StackPerson
let lead: StackPerson
/** Every token of these tests: none may be anywhere. */
const tokens: string[] = []

beforeAll(async () => {
  stack = await startStack({
    limits: { confirmMs: 2_000 },
    between: async (port) => {
      relay = await startRelay(port)
      return relay.port
    },
  })
  ;[dev, lead] = await Promise.all([stack.person('dev'), stack.person('lead')])
  await stack.grant(dev, { level: 'read', forMs: hourMs })
  await stack.grant(dev, { level: 'write', forMs: hourMs })
  await stack.grant(lead, { level: 'read', forMs: hourMs })
})
afterAll(async () => {
  await stack?.stop()
  relay?.close()
})

async function makeToken(...parameters: string[]): Promise<string> {
  const made = await stack.sally(dev.home, 'token', 'connect', stackResource, ...parameters)
  expect(made.code, made.errors).toBe(0)
  const token = made.output.trim()
  expect(token).toMatch(/^sp1_[A-Za-z0-9_-]{32}$/)
  tokens.push(token)
  return token
}

/** As a client has it that knows the host, a user and a password, and no certificate. */
const withToken = (token: string, user = `${dev.email}~${stackResource}`): NodeJS.ProcessEnv => {
  const { PGSSLCERT: _, PGSSLKEY: __, ...environment } = dev.psqlEnvironment({ user })
  return { ...environment, HOME: stack.directory, PGPASSWORD: token }
}

function clientWith(token: string, person = dev): Client {
  const client = new Client({
    host: '127.0.0.1',
    port: stack.proxyPort,
    database: stackDatabase,
    user: `${person.email}~${stackResource}`,
    password: token,
    ssl: { ca: readFileSync(stack.caFile, 'utf8'), servername: host },
  })
  // What a session is told at its end may come after the client has left.
  client.on('error', () => undefined)
  return client
}

const whoAmI = (environment: NodeJS.ProcessEnv) => psql(environment, 'select current_user')

const sessions = async (): Promise<SessionView[]> =>
  (await stack.api.call('sessions', { query: { person: dev.email } })).items

/** Java looks names up here instead of asking the system. */
function hostsFile(): string {
  const file = join(stack.directory, 'hosts')
  writeFileSync(file, `127.0.0.1 ${host}\n`)
  return file
}

/** Java's words to run `Connect`, which is compiled once: run as a source file it would be at each start. */
function javaWords(): string[] {
  const classes = join(stack.directory, 'classes')
  if (!existsSync(classes)) execFileSync('javac', ['-d', classes, 'test/clients/Connect.java'])
  const path = `${classes}:/usr/share/java/postgresql.jar`
  // A start is all that there is to it.
  return ['-XX:TieredStopAtLevel=1', `-Djdk.net.hosts.file=${hostsFile()}`, '-cp', path, 'Connect']
}

/** For the driver of Java: its own file of hosts, and a key as it reads them. */
function jdbc(...properties: string[]) {
  const url = `jdbc:postgresql://${host}:${stack.proxyPort}/${stackDatabase}`
  return run(
    'java',
    [...javaWords(), url, ...['sslmode=verify-full', `sslrootcert=${stack.caFile}`, ...properties]],
    {},
  )
}

describe('clients that know a password only', () => {
  test('psql, with the token as PGPASSWORD', async () => {
    expect(await whoAmI(withToken(await makeToken('--level', 'read')))).toMatchObject({
      code: 0,
      output: 'orders_read\n',
      errors: '',
    })
  })

  test('the login name may say the level instead, or nothing', async () => {
    const level = await whoAmI(withToken(await makeToken(), `write~${stackResource}`))
    expect(level.output).toBe('orders_write\n')
    const nothing = await whoAmI(withToken(await makeToken(), 'root'))
    expect(nothing.output).toBe('orders_write\n')
  })

  test('node pg', async () => {
    const client = clientWith(await makeToken('--level', 'read'))
    await client.connect()
    expect((await client.query('select current_user')).rows).toEqual([
      { current_user: 'orders_read' },
    ])
    await client.end()
  })

  test('pgjdbc, as DBeaver has it', async () => {
    const password = await makeToken('--level', 'read')
    const user = `user=${dev.email}~${stackResource}`
    const first = await jdbc(user, `password=${password}`)
    expect(first).toMatchObject({ code: 0, output: 'orders_read 42\n' })
    const again = await jdbc(user, `password=${password}`)
    expect(again.code).toBe(1)
    expect(again.errors).toMatch(/^28P01 .*one-time token was not accepted/)
  })

  test('psycopg', async () => {
    const { PGPASSWORD, ...environment } = withToken(await makeToken('--level', 'read'))
    const ran = await run(
      python,
      ['test/clients/connect.py', `password=${PGPASSWORD}`],
      environment,
    )
    expect(ran).toMatchObject({ code: 0, output: 'orders_read 42\n' })
  })
})

describe('clients with a certificate see nothing of it', () => {
  test('pgjdbc', async () => {
    const ran = await jdbc(
      `user=read~${stackResource}`,
      `sslcert=${join(dev.home, 'cert.pem')}`,
      `sslkey=${join(dev.home, 'key.pk8')}`,
    )
    expect(ran).toMatchObject({ code: 0, output: 'orders_read 42\n' })
  })

  test('psql, psycopg and pgjdbc, by the service file that sally writes', async () => {
    const file = join(stack.directory, 'pg_service.conf')
    // A password that is set beside the certificate is never asked for.
    const environment = { PGSERVICEFILE: file, PGPASSWORD: 'sp1_nothing' }
    const write = (...more: string[]) =>
      run('control/cli/sally', ['pg-service', '--write', ...more], {
        ...environment,
        SALLY_HOME: dev.home,
      })
    expect(await write()).toMatchObject({ code: 0, output: `1 service in ${file}\n` })
    expect(statSync(join(dev.home, 'key.pk8')).mode & 0o777).toBe(0o600)
    const user = `user=read~${stackResource}`
    const database = `dbname=${stackDatabase}`
    const named = `service=${stackResource} ${user} ${database}`
    const first = await run(python, ['test/clients/connect.py', named], environment)
    expect(first).toMatchObject({ code: 0, output: 'orders_read 42\n' })
    const ran = await psql(environment, 'select current_user', named)
    expect(ran).toMatchObject({ code: 0, output: 'orders_read\n' })

    expect((await write('--names')).code).toBe(0)
    expect(readFileSync(file, 'utf8')).not.toContain('hostaddr')
    const byJava = await run(
      'java',
      [
        ...javaWords(),
        ...[`jdbc:postgresql://?service=${stackResource}`, user, `PGDBNAME=${stackDatabase}`],
      ],
      environment,
    )
    expect(byJava).toMatchObject({ code: 0, output: 'orders_read 42\n' })
  })
})

describe('a token is good for one connection of one person to one resource', () => {
  test('used twice, made up, for another person or another resource: the same words', async () => {
    const used = await makeToken()
    expect((await whoAmI(withToken(used))).code).toBe(0)
    const unused = await makeToken()
    const answers = await Promise.all([
      whoAmI(withToken(used)),
      whoAmI(withToken(`sp1_${'A'.repeat(32)}`)),
      whoAmI(withToken('correct horse battery')),
      whoAmI(withToken(unused, `${lead.email}~${stackResource}`)),
      whoAmI(withToken(unused, `admin~${stackResource}`)),
      whoAmI({
        ...withToken(unused, `${dev.email}~users-db`),
        PGHOST: `users-db.${stackDomain}`,
      }),
    ])
    const words = answers.map(({ code, errors }) => {
      expect(code).not.toBe(0)
      return errors.slice(errors.indexOf('FATAL'))
    })
    expect(words[0]).toMatch(refused)
    expect(words[0]).toContain('sally token connect')
    expect(new Set(words).size).toBe(1)
    // None of those used it up.
    expect((await whoAmI(withToken(unused))).code).toBe(0)
  })

  test('of fifty at once one gets in', async () => {
    const token = await makeToken()
    const before = (await sessions()).length
    const clients = Array.from({ length: 50 }, () => {
      const client = clientWith(token)
      client.on('error', () => undefined)
      return client
    })
    const outcomes = await Promise.allSettled(clients.map((client) => client.connect()))
    const ins = outcomes.filter(({ status }) => status === 'fulfilled')
    expect(ins).toHaveLength(1)
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)))
    await eventually(sessions, (all) => all.length === before + 1)
  })

  test('not while control cannot be reached, although a certificate gets in', async () => {
    const token = await makeToken()
    relay.cut()
    const [byToken, byCertificate] = await Promise.all([
      whoAmI(withToken(token)),
      whoAmI(dev.psqlEnvironment()),
    ])
    expect(byToken.errors).toMatch(refused)
    expect(byCertificate.code).toBe(0)
    relay.mend()
    await eventually(
      async () => whoAmI(withToken(token)),
      ({ code }) => code === 0,
    )
  })
})

describe('a session that a token let in', () => {
  async function hold(person: StackPerson, token: string) {
    const client = clientWith(token, person)
    const ended = new Promise<string>((resolve) => {
      client.on('error', (error) => resolve(error.message))
    })
    await client.connect()
    return { client, ended }
  }
  const makeFor = async (person: StackPerson): Promise<string> => {
    const made = await stack.sally(person.home, 'token', 'connect', stackResource)
    tokens.push(made.output.trim())
    return made.output.trim()
  }
  const idOf = async (): Promise<string> => {
    const { items } = await stack.api.call('tokens', { query: { state: 'all' } })
    return items.find(({ kind }) => kind === 'connect')!.id
  }

  test('is in the audit with the id of the token', async () => {
    const { client } = await hold(dev, await makeToken())
    const id = await idOf()
    const [session] = await eventually(sessions, ([newest]) => newest?.evidence?.id === id)
    expect(session).toMatchObject({ evidence: { kind: 'token', id }, admittedBy: 'control' })
    await client.end()
  })

  test('is cut when the token is revoked', async () => {
    const { ended } = await hold(dev, await makeToken())
    const id = await idOf()
    const { code } = await stack.sally(dev.home, 'token', 'revoke', id, '--reason', 'a test')
    expect(code).toBe(0)
    expect(await ended).toContain('your connect token was revoked')
  })

  test('is cut when the certificate is revoked that it was asked for with', async () => {
    const other = await stack.person('other')
    await stack.grant(other, { forMs: hourMs })
    const { ended } = await hold(other, await makeFor(other))
    const whoami = await stack.sally(other.home, 'whoami', '--json')
    const { serial } = (JSON.parse(whoami.output) as { certificate: { serial: string } })
      .certificate
    await stack.api.call('certificateRevoke', { params: { serial }, body: { reason: 'a test' } })
    expect(await ended).toContain('revoked')
  })

  test.each(['grant', 'person'] as const)('is cut when the %s is revoked', async (what) => {
    const person = await stack.person(`ends-${what}`)
    const grant = await stack.grant(person, { forMs: hourMs })
    const { ended } = await hold(person, await makeFor(person))
    const body = { reason: 'a test' }
    if (what === 'grant') await stack.api.call('grantRevoke', { params: { id: grant.id }, body })
    else await stack.api.call('personRevoke', { params: { id: person.id }, body })
    expect(await ended).toContain('was revoked')
  })
})

test('no token is in any file of control, proxy or their logs', () => {
  const files = (directory: string): string[] =>
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      .map((name) => join(directory, name))
      .filter((path) => !path.includes('/postgres/') && statSync(path).isFile())
  expect(tokens.length).toBeGreaterThan(10)
  let looked = 0
  for (const path of files(stack.directory)) {
    const bytes = readFileSync(path)
    looked += bytes.length
    for (const token of tokens) expect(bytes.includes(token), path).toBe(false)
  }
  expect(looked).toBeGreaterThan(10_000)
})
