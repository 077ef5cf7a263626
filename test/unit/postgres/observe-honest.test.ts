/** Records that must not say something else than what ran, and must not keep what was taken out elsewhere. */
import { expect, test } from 'vitest'
import { client, server, wireUp } from './messages.ts'

test('a portal that SQL closes and declares anew within the pipeline is not taken for the old one', () => {
  const wire = wireUp()
  wire.toServer(client.parse('a', 'select 1'), client.bind('p', 'a'), client.sync())
  wire.toClient(server.parsed(), server.bound(), server.ready('T'))
  const sql = (text: string) => [client.parse('', text), client.bind('', ''), client.execute('')]
  wire.toServer(
    ...sql('close p'),
    ...sql('declare p cursor for select * from cards'),
    client.execute('p'),
    client.sync(),
  )
  expect(wire.stalled).toBe(true)
  wire.toClient(
    ...[server.parsed(), server.bound(), server.complete('CLOSE CURSOR')],
    ...[server.parsed(), server.bound(), server.complete('DECLARE CURSOR')],
  )
  expect(wire.stalled).toBe(false)
  wire.toClient(server.row('4111'), server.complete('SELECT 1'), server.ready('T'))
  expect(wire.texts()).toEqual(['close p', 'declare p cursor for select * from cards', ''])
  expect(wire.records[2]!.target).toBe('p')
  expect(wire.settledOnce()).toBe(true)
})

test('the same, by a Query between a Bind and its Execute', () => {
  const wire = wireUp()
  wire.toServer(
    client.parse('a', 'select 1'),
    client.bind('p', 'a'),
    client.query('close p; declare p cursor for select * from cards'),
    client.execute('p'),
    client.sync(),
  )
  expect(wire.stalled).toBe(true)
  wire.toClient(server.parsed(), server.bound())
  wire.toClient(server.complete('CLOSE CURSOR'), server.complete('DECLARE CURSOR'))
  wire.toClient(server.ready('T'), server.complete('SELECT 0'), server.ready('T'))
  expect(wire.texts().at(-1)).toBe('')
})

test.each(['parse', 'bind'] as const)(
  'names beyond ASCII are refused in %s: they mean something else in another encoding',
  (message) => {
    const wire = wireUp()
    const send = () =>
      message === 'parse'
        ? wire.toServer(client.parse('\u0104', 'select 1'))
        : wire.toServer(client.parse('', 'select 1'), client.bind('\u0104', ''))
    expect(send).toThrow(expect.objectContaining({ code: 'unsupported-feature' }))
  },
)

test('an error text that quotes a statement with a credential is not kept', () => {
  const wire = wireUp()
  const why = 'unterminated quoted string at or near "\'hunter2"'
  wire.toServer(client.query("alter role a password 'hunter2"))
  wire.toClient(server.error('42601', why), server.ready())
  wire.toServer(client.parse('', "alter role a password 'hunter2"), client.sync())
  wire.toClient(server.error('42601', why), server.ready())
  wire.toServer(
    client.parse('', 'select dblink_connect($1)'),
    client.bind('', '', ['password=hunter2 x']),
    client.execute(''),
    client.sync(),
  )
  wire.toClient(server.parsed(), server.bound(), server.error('42601', 'missing "=" after hunter2'))
  wire.toClient(server.ready())
  expect(JSON.stringify(wire.records)).not.toContain('hunter2')
  expect(wire.records.map(({ outcomes }) => outcomes[0]!.errorText)).toEqual(
    Array.from({ length: 3 }, () => '[redacted]'),
  )
  // The next one is whole again.
  wire.toServer(client.query('bad'))
  wire.toClient(server.error('42601', 'syntax error at or near "bad"'), server.ready())
  expect(wire.outcome(3).errorText).toContain('bad')
})
