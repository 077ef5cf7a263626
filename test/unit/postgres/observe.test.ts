import { expect, test, describe } from 'vitest'
import { client, server, wireUp, type Wire } from './messages.ts'

/** Both directions of a conversation, in turns. */
type Turn = { up?: Buffer[]; down?: Buffer[] }

const conversations: Record<string, { turns: Turn[]; check: (wire: Wire) => void }> = {
  'simple query of several statements': {
    turns: [
      { up: [client.query('select 1; update t set a = 2')] },
      {
        down: [
          server.rowDescription(),
          server.row('1'),
          server.complete('SELECT 1'),
          server.complete('UPDATE 4'),
          server.ready(),
        ],
      },
    ],
    check(wire) {
      expect(wire.texts()).toEqual(['select 1; update t set a = 2'])
      expect(wire.outcome(0)).toMatchObject({ status: 'ok', rows: 5, tag: 'UPDATE 4' })
    },
  },
  'simple query with an error and asynchronous messages': {
    turns: [
      { up: [client.query('select 1; bad')] },
      {
        down: [
          server.notice('hm'),
          server.row('1'),
          server.notification(),
          server.complete('SELECT 1'),
          server.parameter('TimeZone', 'UTC'),
          server.error('42601', 'syntax error'),
          server.ready(),
        ],
      },
    ],
    check(wire) {
      expect(wire.outcome(0)).toMatchObject({
        status: 'error',
        errorCode: '42601',
        errorText: 'syntax error',
      })
    },
  },
  'interleaved portals, suspended and taken up again': {
    turns: [
      {
        up: [
          client.parse('s1', 'select a'),
          client.parse('s2', 'select b'),
          client.bind('p1', 's1', ['one']),
          client.bind('p2', 's2', ['two', null]),
          client.execute('p1', 2),
          client.execute('p2'),
          client.execute('p1'),
          client.sync(),
        ],
      },
      {
        down: [
          ...[server.parsed(), server.parsed(), server.bound(), server.bound()],
          ...[server.row('1'), server.row('2'), server.suspended()],
          ...[server.row('3'), server.complete('SELECT 1')],
          ...[server.complete('SELECT 0'), server.ready()],
        ],
      },
    ],
    check(wire) {
      expect(
        wire.records.map(({ text, preparedName, parameters, outcomes }) => [
          text,
          preparedName,
          parameters.length,
          outcomes[0]!.rows,
          outcomes[0]!.tag,
        ]),
      ).toEqual([
        ['select a', 's1', 1, 2, ''],
        ['select b', 's2', 2, 1, 'SELECT 1'],
        ['select a', 's1', 1, 0, 'SELECT 0'],
      ])
    },
  },
  'a failed Parse that nobody executes': {
    turns: [
      { up: [client.parse('', 'bad'), client.describe('S', ''), client.sync()] },
      { down: [server.error('42601', 'no'), server.ready()] },
    ],
    check(wire) {
      expect(wire.records).toMatchObject([{ kind: 'prepare', text: 'bad' }])
      expect(wire.outcome(0)).toMatchObject({ status: 'error', errorCode: '42601' })
    },
  },
  'a failed Bind is the outcome of its Execute; the rest up to Sync is skipped': {
    turns: [
      {
        up: [
          client.parse('', 'select $1::int'),
          client.bind('', '', ['x']),
          client.execute(''),
          client.parse('', 'select 2'),
          client.bind('', ''),
          client.execute(''),
          client.sync(),
          client.query('select 3'),
        ],
      },
      {
        down: [
          ...[server.parsed(), server.error('22P02', 'not a number'), server.ready()],
          ...[server.complete('SELECT 1'), server.ready()],
        ],
      },
    ],
    check(wire) {
      expect(wire.records.map(({ outcomes }) => outcomes[0]!.status)).toEqual([
        'error',
        'skipped',
        'ok',
      ])
      expect(wire.outcome(0).errorCode).toBe('22P02')
    },
  },
  'what comes after an error and before its Sync is skipped, a Query too': {
    turns: [
      { up: [client.parse('', 'bad'), client.flush()] },
      { down: [server.error('42601', 'no')] },
      { up: [client.bind('', ''), client.execute(''), client.query('select 1'), client.sync()] },
      { down: [server.ready()] },
    ],
    check(wire) {
      expect(wire.records.map(({ kind, outcomes }) => [kind, outcomes[0]!.status])).toEqual([
        ['prepare', 'error'],
        ['statement', 'skipped'],
        ['statement', 'skipped'],
      ])
    },
  },
  'a commit that fails at Sync': {
    turns: [
      {
        up: [
          client.parse('', 'insert'),
          client.bind('', ''),
          client.execute(''),
          client.close('P', ''),
          client.sync(),
        ],
      },
      {
        down: [
          ...[server.parsed(), server.bound(), server.complete('INSERT 0 1'), server.closed()],
          ...[server.error('23505', 'deferred'), server.ready()],
        ],
      },
    ],
    check(wire) {
      expect(wire.outcome(0)).toMatchObject({
        status: 'error',
        errorCode: '23505',
        tag: 'INSERT 0 1',
      })
    },
  },
  'COPY in through the extended protocol swallows the first Sync': {
    turns: [
      {
        up: [
          client.parse('', 'copy t from stdin'),
          client.bind('', ''),
          client.execute(''),
          client.sync(),
        ],
      },
      { down: [server.parsed(), server.bound(), server.copyIn()] },
      { up: [client.copyData('12345'), client.copyData('678'), client.copyDone(), client.sync()] },
      { down: [server.complete('COPY 2'), server.ready()] },
    ],
    check(wire) {
      expect(wire.outcome(0)).toMatchObject({ rows: 2, bytesUp: 8, bytesDown: 0, tag: 'COPY 2' })
    },
  },
  'COPY that the client gives up': {
    turns: [
      { up: [client.query('copy t from stdin')] },
      { down: [server.copyIn()] },
      { up: [client.copyData('12345'), client.copyFail('changed my mind')] },
      { down: [server.error('57014', 'COPY from stdin failed'), server.ready()] },
    ],
    check(wire) {
      expect(wire.outcome(0)).toMatchObject({ status: 'cancelled', bytesUp: 5 })
    },
  },
  'COPY out': {
    turns: [
      { up: [client.query('copy t to stdout')] },
      {
        down: [
          server.copyOut(),
          server.copyData('123'),
          server.copyData('4567'),
          server.copyDone(),
          server.complete('COPY 2'),
          server.ready(),
        ],
      },
    ],
    check(wire) {
      expect(wire.outcome(0)).toMatchObject({ rows: 2, bytesUp: 0, bytesDown: 7 })
    },
  },
  'binary parameters by declared and by described types': {
    turns: [
      {
        up: [client.parse('s', 'select $1, $2', [23, 0]), client.describe('S', 's'), client.sync()],
      },
      {
        down: [server.parsed(), server.types(23, 20), server.rowDescription(), server.ready()],
      },
      {
        up: [
          client.bind('', 's', [
            { binary: true, bytes: Buffer.from([0, 0, 0, 42]) },
            { binary: true, bytes: Buffer.from([255, 255, 255, 255, 255, 255, 255, 254]) },
          ]),
          client.execute(''),
          client.sync(),
        ],
      },
      { down: [server.bound(), server.complete('SELECT 1'), server.ready()] },
    ],
    check(wire) {
      expect(wire.records[0]!.parameters).toEqual([
        { form: 'text', value: '42' },
        { form: 'text', value: '-2' },
      ])
    },
  },
  'a function call': {
    turns: [
      { up: [client.functionCall(1299, [{ bytes: Buffer.from('7') }])] },
      { down: [server.functionResult('x'), server.ready()] },
    ],
    check(wire) {
      expect(wire.records).toMatchObject([
        {
          kind: 'functionCall',
          target: '1299',
          parameters: [{ form: 'text', value: '7' }],
          outcomes: [{ status: 'ok', tag: 'FunctionCall' }],
        },
      ])
    },
  },
  'an end by the server settles what waits': {
    turns: [
      { up: [client.query('select pg_sleep(9)'), client.query('select 2')] },
      { down: [server.error('57P01', 'terminating', 'FATAL')] },
    ],
    check(wire) {
      expect(wire.records.map(({ outcomes }) => outcomes[0]!.status)).toEqual(['error', 'skipped'])
    },
  },
  'another encoding is named, its bytes kept': {
    turns: [
      { down: [server.parameter('client_encoding', 'LATIN1')] },
      { up: [client.query('select 1')] },
      { down: [server.complete('SELECT 1'), server.ready()] },
    ],
    check(wire) {
      expect(wire.records[0]!.encoding).toBe('LATIN1')
    },
  },
  'credentials are redacted, with their parameters': {
    turns: [
      {
        up: [
          client.query("alter role x password 'hunter2'"),
          client.parse('', "select format('alter role x password %L', $1)"),
          client.bind('', '', ['hunter2']),
          client.execute(''),
          client.parse('', 'select dblink_connect($1), $2'),
          client.bind('', '', ['host=x password=hunter2', 'seen']),
          client.execute(''),
          client.sync(),
        ],
      },
      {
        down: [
          ...[server.complete('ALTER ROLE'), server.ready()],
          ...[server.parsed(), server.bound(), server.complete('SELECT 1')],
          ...[server.parsed(), server.bound(), server.complete('SELECT 1'), server.ready()],
        ],
      },
    ],
    check(wire) {
      expect(JSON.stringify(wire.records)).not.toContain('hunter2')
      expect(wire.records[0]!.text).toBe("alter role x password '[redacted]'")
      expect(wire.records.map(({ redacted }) => redacted)).toEqual([true, true, true])
      expect(wire.records[2]!.parameters).toEqual([
        { form: 'text', value: '[redacted]' },
        { form: 'text', value: 'seen' },
      ])
    },
  },
}

describe.each(Object.entries(conversations))('%s', (_name, { turns, check }) => {
  const play = (cut: (bytes: Buffer) => Buffer[]): Wire => {
    const wire = wireUp()
    for (const { up, down } of turns) {
      if (up !== undefined) wire.toServer(...cut(Buffer.concat(up)))
      if (down !== undefined) wire.toClient(...cut(Buffer.concat(down)))
    }
    expect(wire.observer.idle).toBe(true)
    expect(wire.settledOnce()).toBe(true)
    const whole = (which: 'up' | 'down'): Buffer =>
      Buffer.concat(turns.flatMap((turn) => turn[which] ?? []))
    expect(Buffer.concat(wire.upstream)).toEqual(whole('up'))
    expect(Buffer.concat(wire.downstream)).toEqual(whole('down'))
    check(wire)
    return wire
  }
  test('in one piece', () => void play((bytes) => [bytes]))
  test.each([1, 2, 3, 5, 7, 11])('in pieces of %i', (size) => {
    play((bytes) =>
      Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      ),
    )
  })
  test('split at every byte', () => {
    const longest = Math.max(
      ...turns.map(({ up, down }) => Buffer.concat([...(up ?? []), ...(down ?? [])]).length),
    )
    for (let at = 1; at < longest; at++)
      play((bytes) => [bytes.subarray(0, at), bytes.subarray(at)])
  })
})

test('the record is there before the last byte goes upstream', () => {
  const wire = wireUp()
  const query = client.query('select 1')
  for (const byte of query) wire.toServer(Buffer.from([byte]))
  for (const [index, records] of wire.recordsAtPiece.entries()) {
    const sent = Buffer.concat(wire.upstream.slice(0, index + 1)).length
    if (sent === query.length) expect(records).toBe(1)
  }
})

test('a name that was defined anew before the last Sync waits for the answer', () => {
  const wire = wireUp()
  wire.toServer(client.parse('s', 'first'), client.sync())
  wire.toClient(server.parsed(), server.ready())
  // The second Parse fails, so `s` goes on meaning the first.
  wire.toServer(
    Buffer.concat([
      client.parse('s', 'second'),
      client.sync(),
      client.bind('', 's'),
      client.execute(''),
      client.sync(),
    ]),
  )
  expect(wire.stalled).toBe(true)
  expect(wire.texts()).toEqual([])
  wire.toClient(server.error('42P05', 'already exists'), server.ready())
  expect(wire.stalled).toBe(false)
  expect(wire.texts()).toEqual(['first'])
})

test('SQL that sets names free is waited for, and then the text is not guessed', () => {
  const wire = wireUp()
  wire.toServer(client.parse('s', 'harmless'), client.sync())
  wire.toClient(server.parsed(), server.ready())
  wire.toServer(client.query('deallocate s; prepare s as delete from orders'))
  wire.toServer(client.bind('', 's'), client.execute(''), client.sync())
  expect(wire.stalled).toBe(true)
  wire.toClient(server.complete('DEALLOCATE'), server.complete('PREPARE'), server.ready())
  expect(wire.records[1]).toMatchObject({ text: '', preparedName: 's' })
})

describe('long messages', () => {
  const long = (bytes: number) => `select '${'x'.repeat(bytes)}'`

  test.each([40_000, 200_000])('a Query of %i bytes is spilled whole', (bytes) => {
    const wire = wireUp()
    const sql = long(bytes)
    const query = client.query(sql)
    for (let at = 0; at < query.length; at += 16_384) wire.toServer(query.subarray(at, at + 16_384))
    wire.toClient(server.complete('SELECT 1'), server.ready())
    expect(wire.blobs).toEqual([Buffer.from(sql)])
    expect(wire.records).toMatchObject([
      { text: sql.slice(0, 1024), textBlob: { bytes: sql.length } },
    ])
    expect(wire.recordsAtPiece.at(-1)).toBe(1)
    expect(Buffer.concat(wire.upstream)).toEqual(query)
  })

  test('Parse and Bind', () => {
    const wire = wireUp()
    const sql = `${long(100_000)} || $1`
    const messages = Buffer.concat([
      client.parse('s', sql, [25]),
      client.bind('p', 's', ['y'.repeat(150_000)]),
      client.execute('p'),
      client.sync(),
    ])
    for (let at = 0; at < messages.length; at += 10_007) {
      wire.toServer(messages.subarray(at, at + 10_007))
    }
    wire.toClient(server.parsed(), server.bound(), server.complete('SELECT 1'), server.ready())
    expect(wire.blobs[0]).toEqual(Buffer.from(sql))
    expect(wire.blobs[1]!.includes('y'.repeat(150_000))).toBe(true)
    expect(wire.records).toMatchObject([
      { preparedName: 's', textBlob: { bytes: sql.length }, parameters: [] },
    ])
    expect(wire.records[0]!.parametersBlob).toBeDefined()
    expect(wire.settledOnce()).toBe(true)
  })

  test('a credential in it does not reach the blob', () => {
    const wire = wireUp()
    const query = client.query(`/* ${'c'.repeat(90_000)} */ alter role x password 'hunter2'`)
    for (let at = 0; at < query.length; at += 8_191) wire.toServer(query.subarray(at, at + 8_191))
    expect(wire.blobs[0]!.includes('hunter2')).toBe(false)
    expect(wire.blobs[0]!.includes("'[redacted]'")).toBe(true)
    expect(wire.records[0]!.redacted).toBe(true)
  })

  test('one that never ends is thrown away', () => {
    const wire = wireUp()
    wire.toServer(client.query(long(100_000)).subarray(0, 90_000))
    wire.observer.finish()
    expect(wire.abandoned).toBe(1)
    expect(wire.records).toEqual([])
  })
})

describe('limits', () => {
  test('prepared statements', () => {
    const wire = wireUp({ preparedMax: 3 })
    const parse = (index: number) => client.parse(`s${index}`, 'select 1')
    wire.toServer(parse(1), parse(2), parse(3))
    expect(() => wire.toServer(parse(4))).toThrow(
      expect.objectContaining({ code: 'frame-too-large' }),
    )
  })

  test('their bytes', () => {
    const wire = wireUp({ preparedBytesMax: 5_000 })
    const parse = (index: number) => client.parse(`s${index}`, 'x'.repeat(1_000))
    expect(() => wire.toServer(...[1, 2, 3, 4, 5, 6].map(parse))).toThrow('too many bytes')
  })

  test('closing gives room again', () => {
    const wire = wireUp({ preparedMax: 2, preparedBytesMax: 10_000 })
    for (let round = 0; round < 200; round++) {
      const name = `s${round}`
      wire.toServer(
        ...[client.parse(name, 'x'.repeat(2_000)), client.bind('p', name, ['y'.repeat(1_000)])],
        ...[client.execute('p'), client.close('P', 'p'), client.close('S', name), client.sync()],
      )
      wire.toClient(
        ...[server.parsed(), server.bound(), server.complete('SELECT 0'), server.closed()],
        ...[server.closed(), server.ready()],
      )
    }
    expect(wire.records).toHaveLength(200)
  })

  test('a full pipeline waits', () => {
    const wire = wireUp({ pipelineMax: 4 })
    wire.toServer(Buffer.concat(Array.from({ length: 6 }, () => client.query('select 1'))))
    expect(wire.stalled).toBe(true)
    expect(wire.records).toHaveLength(4)
    for (let round = 0; round < 6; round++) {
      wire.toClient(server.complete('SELECT 1'), server.ready())
    }
    expect(wire.records).toHaveLength(6)
    expect(wire.settledOnce()).toBe(true)
  })
})

describe('mistakes', () => {
  test.each<[string, Buffer]>([
    ['a length below four', Buffer.from([0x51, 0, 0, 0, 3])],
    ['a negative length', Buffer.from([0x51, 0xff, 0xff, 0xff, 0xff])],
    ['two gigabytes', Buffer.from([0x51, 0x7f, 0xff, 0xff, 0xff])],
    ['a long Sync', Buffer.from([0x53, 0, 1, 0, 0])],
    ['an unknown type', Buffer.from([0x70, 0, 0, 0, 4])],
    ['a Query without its end', Buffer.from([0x51, 0, 0, 0, 5, 65])],
    ['a Bind that counts wrong', Buffer.from([0x42, 0, 0, 0, 10, 0, 0, 0, 0, 0xff, 0xff])],
  ])('of the client: %s', (_name, bytes) => {
    const wire = wireUp()
    wire.toServer(client.sync())
    expect(() => wire.toServer(Buffer.concat([client.query('select 1'), bytes]))).toThrow(
      expect.objectContaining({ code: 'protocol-violation' }),
    )
    // What was right before it went on its way.
    expect(Buffer.concat(wire.upstream)).toEqual(
      Buffer.concat([client.sync(), client.query('select 1')]),
    )
  })

  test.each<[string, Buffer]>([
    ['an answer to nothing', server.ready()],
    ['ParseComplete for a Query', Buffer.concat([server.parsed()])],
    ['two gigabytes', Buffer.from([0x44, 0x7f, 0xff, 0xff, 0xff])],
    ['an authentication message', Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])],
  ])('of the server: %s', (name, bytes) => {
    const wire = wireUp()
    if (name.includes('Query')) wire.toServer(client.query('select 1'))
    expect(() => wire.toClient(bytes)).toThrow(
      expect.objectContaining({ code: 'protocol-violation' }),
    )
  })

  test('replication is refused', () => {
    const wire = wireUp()
    wire.toServer(client.query('START_REPLICATION'))
    expect(() => wire.toClient(server.copyBoth())).toThrow(
      expect.objectContaining({ code: 'unsupported-feature' }),
    )
  })

  test('what is unanswered at the end is unknown', () => {
    const wire = wireUp()
    wire.toServer(client.query('select 1'))
    wire.observer.finish()
    expect(wire.outcome(0).status).toBe('unknown')
  })
})
