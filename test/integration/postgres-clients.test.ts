/** Real clients through the engine to a real PostgreSQL: they work, and everything they did is on record once. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { client as messages } from '../unit/postgres/messages.ts'
import { startDebianPostgres } from '../fakes/debian-postgres.ts'
import {
  account,
  eventually,
  secret,
  startRealPostgres,
  startSite,
  type RealPostgres,
  type Site,
} from '../fakes/postgres-site.ts'

let real: RealPostgres
let site: Site

beforeAll(async () => {
  real = await startRealPostgres()
})
afterAll(async () => {
  await real?.stop()
})
beforeEach(async () => {
  site = await startSite(real)
  return async () => {
    await eventually(() => site.server.serving === 0)
    expect(site.server.crashes).toEqual([])
    for (const record of site.gate.records) expect(record.outcomes).toHaveLength(1)
    await site.close()
  }
})

describe('psql', () => {
  test('runs a session, and each statement is on record', async () => {
    const { code, stdout, stderr } = await site.psql(
      ...['-c', 'select 1 as one; select 2'],
      ...['-c', "select 'it''s', current_user"],
    )
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: `1\n2\nit's|${account}\n`,
      stderr: '',
    })
    const [both, second] = site.gate.records
    expect(both).toMatchObject({ text: 'select 1 as one; select 2', kind: 'statement' })
    expect(both!.outcomes[0]).toMatchObject({ status: 'ok', rows: 2, tag: 'SELECT 1' })
    expect(second).toMatchObject({ text: "select 'it''s', current_user" })
  })

  test('tells the server its own settings', async () => {
    const long = '-c search_path='.padEnd(400, 'x')
    site.environment['PGOPTIONS'] = `-c statement_timeout=12345 ${long}`
    site.environment['PGAPPNAME'] = 'tester'
    site.environment['PGCLIENTENCODING'] = 'UTF8'
    const { stdout } = await site.psql(
      '-c',
      'show statement_timeout',
      '-c',
      'show application_name',
    )
    expect(stdout).toBe('12345ms\ntester\n')
    expect(site.gate.arrivals[0]!.attributes).toMatchObject({
      database: 'shop',
      application_name: 'tester',
      // Whole: what is set here says what statements mean.
      options: `-c statement_timeout=12345 ${long}`,
      client_encoding: 'UTF8',
    })
  })

  test('Ctrl-C cancels the statement and the session goes on', async () => {
    const child = site.start('psql', ['-X', '-c', 'select pg_sleep(60)', '-c', "select 'still'"])
    let output = ''
    child.stdout!.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr!.on('data', (chunk: Buffer) => (output += chunk.toString()))
    await eventually(async () => (await sleepers()) === 1)
    child.kill('SIGINT')
    await once(child, 'close')
    expect(output).toContain('canceling statement due to user request')
    const [slept] = site.gate.records
    expect(slept!.outcomes[0]).toMatchObject({ status: 'cancelled', errorCode: '57014' })
    expect(site.gate.cancels).toHaveLength(1)
  })

  // 50 MB in long runs.
  const rows = process.env['SALLYPORT_LONG'] === '1' ? 500_000 : 100_000
  test(`copies ${rows / 10_000} MB both ways`, async () => {
    const file = join(real.certificates.directory, 'rows.txt')
    const line = `${'x'.repeat(99)}\n`
    const out = createWriteStream(file)
    for (let index = 0; index < rows; index++) {
      if (!out.write(line)) await once(out, 'drain')
    }
    out.end()
    await finished(out)
    const bytes = statSync(file).size
    await site.psql('-c', 'drop table if exists bulk; create table bulk (line text)')
    const copied = await site.psql('-c', `\\copy bulk from '${file}'`)
    expect(copied).toEqual({ code: 0, stdout: `COPY ${rows}\n`, stderr: '' })
    const back = await site.psql('-c', `\\copy bulk to '${file}.back'`)
    expect(back).toEqual({ code: 0, stdout: `COPY ${rows}\n`, stderr: '' })
    expect(await digest(`${file}.back`)).toBe(await digest(file))
    const [, into, outOf] = site.gate.records
    expect(into!.outcomes[0]).toMatchObject({ rows, bytesUp: bytes, bytesDown: 0 })
    expect(outOf!.outcomes[0]).toMatchObject({ rows, bytesUp: 0, bytesDown: bytes })
  })

  test('a failed copy has its error, and the session goes on', async () => {
    const { stderr, stdout } = await site.run(
      'psql',
      ['-X', '-At'],
      'create temp table c (n int);\ncopy c from stdin;\n1\nnope\n\\.\nselect 7;\n',
    )
    expect(stderr).toContain('invalid input syntax')
    expect(stdout).toContain('7')
    const copy = site.gate.records[1]
    expect(copy!.outcomes[0]).toMatchObject({ status: 'error', errorCode: '22P02' })
  })
})

describe('pgbench', () => {
  beforeAll(async () => {
    const first = await startSite(real)
    const { code, stderr } = await first.run('pgbench', ['-i', '-q', '-s', '1', 'shop'])
    expect(code, stderr).toBe(0)
    await eventually(() => first.server.serving === 0)
    await first.close()
  })

  test.each(['simple', 'extended', 'prepared'])('-M %s: every statement once', async (mode) => {
    const result = await site.run('pgbench', [
      ...['-n', '-S', '-M', mode, '-c', '8', '-j', '2', '-t', '200', 'shop'],
    ])
    expect(result.code, result.stderr).toBe(0)
    const selects = site.gate.records.filter(({ text }) => text.startsWith('SELECT abalance'))
    expect(selects).toHaveLength(1600)
    for (const { outcomes, parameters } of selects) {
      expect(outcomes[0]).toMatchObject({ status: 'ok', rows: 1, tag: 'SELECT 1' })
      expect(parameters).toHaveLength(mode === 'simple' ? 0 : 1)
    }
  })

  test('in a pipeline', async () => {
    const script = join(real.certificates.directory, 'pipeline.sql')
    const body = Array.from({ length: 20 }, (_, index) => `select ${index} + :client_id;`)
    writeFileSync(script, ['\\startpipeline', ...body, '\\endpipeline', ''].join('\n'))
    const result = await site.run('pgbench', [
      ...['-n', '-M', 'prepared', '-c', '4', '-t', '25', '-f', script, 'shop'],
    ])
    expect(result.code, result.stderr).toBe(0)
    const selects = site.gate.records.filter(({ text }) => /^select \d+ \+ /.test(text))
    expect(selects).toHaveLength(4 * 25 * 20)
  })
})

test('pg_dump', async () => {
  const debian = await startDebianPostgres(account, secret)
  const old = await startSite(real, {
    tls: 'disable',
    gate: {
      upstream: {
        host: '127.0.0.1',
        port: debian.port,
        serverName: 'localhost',
        tls: 'disable',
      },
    },
  })
  try {
    const made = await old.run('psql', [
      '-X',
      '-c',
      'create table dumped as select 4711 n',
      'postgres',
    ])
    expect(made.stderr).toBe('')
    const { code, stdout, stderr } = await old.run('pg_dump', ['postgres'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('COPY public.dumped (n) FROM stdin;\n4711\n')
    await eventually(() => old.server.serving === 0)
    const copy = old.gate.records.find(({ text }) => text.startsWith('COPY public.dumped'))
    expect(copy!.outcomes).toMatchObject([{ status: 'ok', rows: 1, tag: 'COPY 1', bytesDown: 5 }])
    for (const record of old.gate.records) expect(record.outcomes).toHaveLength(1)
  } finally {
    await old.close()
    debian.stop()
  }
})

describe('node pg', () => {
  test('parameters of many types', async () => {
    const client = site.client()
    await client.connect()
    await client.query('select $1::int, $2::text, $3::bytea, $4::jsonb', [
      7,
      null,
      Buffer.from([1, 255]),
      { a: 1 },
    ])
    await client.end()
    await eventually(() => site.server.serving === 0)
    const [record] = site.gate.records
    expect(record!.parameters).toEqual([
      { form: 'text', value: '7' },
      { form: 'null' },
      { form: 'binary', hex: '01ff' },
      { form: 'text', value: '{"a":1}' },
    ])
  })

  test('pipelined queries keep their order and their outcomes', async () => {
    const client = site.client({ pipeline: true })
    await client.connect()
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, index) =>
        index % 10 === 3
          ? client.query('select 1 / ($1::int - $1::int)', [index])
          : client.query({
              ...(index % 3 === 0 ? { name: `named_${index % 2}` } : {}),
              text: index % 3 === 0 ? `select $1::int + ${index % 2}` : `select $1::int, ${index}`,
              values: [index],
            }),
      ),
    )
    await client.end()
    await eventually(() => site.server.serving === 0)
    const statements = site.gate.records.filter(({ kind }) => kind === 'statement')
    expect(statements).toHaveLength(60)
    for (const [index, record] of statements.entries()) {
      expect(record.parameters).toEqual([{ form: 'text', value: String(index) }])
      const failed = results[index]!.status === 'rejected'
      expect(failed).toBe(index % 10 === 3)
      expect(record.outcomes[0]).toMatchObject(
        failed ? { status: 'error', errorCode: '22012' } : { status: 'ok', rows: 1 },
      )
    }
  })
})

test('names that only the server can tell apart do not deadlock, and are recorded as what ran', async () => {
  const client = site.client()
  client.on('error', () => {})
  await client.connect()
  const stream = (client as unknown as { connection: { stream: import('node:net').Socket } })
    .connection.stream
  stream.removeAllListeners('data')
  const said: Buffer[] = []
  stream.on('data', (chunk: Buffer) => said.push(chunk))
  // Without a Sync between them, so that the server would keep every answer back.
  stream.write(
    Buffer.concat([
      ...[messages.parse('s', "select 'first'"), messages.sync()],
      ...[messages.parse('s', "select 'second'"), messages.sync()],
      ...[messages.bind('', 's'), messages.execute('')],
      ...[messages.parse('d', 'deallocate s'), messages.bind('', 'd'), messages.execute('')],
      ...[messages.parse('s', "select 'third'"), messages.bind('', 's'), messages.execute('')],
      ...[messages.parse('d2', 'deallocate s'), messages.bind('', 'd2'), messages.execute('')],
      ...[messages.bind('', 'd'), messages.sync()],
    ]),
  )
  const readies = (): number =>
    Buffer.concat(said).toString('latin1').split('Z\0\0\0\x05').length - 1
  await eventually(() => readies() === 3)
  stream.destroy()
  await eventually(() => site.server.serving === 0)
  expect(site.gate.texts).toEqual([
    "select 'first'",
    'deallocate s',
    "select 'third'",
    'deallocate s',
  ])
})

async function sleepers(): Promise<number> {
  const rows = await real.query(
    `select count(*)::int as n from pg_stat_activity where query like '%pg_sleep%' and state = 'active' and pid <> pg_backend_pid()`,
  )
  return rows[0]!['n'] as number
}

async function digest(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}
