/** What a mistake in our own handlers costs: the connection that it happened on. */
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Connection } from '../../../protocols/ssh/wire/connection.ts'
import type { TransportHandlers } from '../../../protocols/ssh/wire/transport-role.ts'
import { Transport } from '../../../protocols/ssh/wire/transport.ts'
import { createTestClock } from '../../test-clock.ts'

const mistake = (): never => {
  throw new Error('a mistake of ours')
}

function transportWith(handlers: Partial<TransportHandlers>) {
  const closed: (Error | undefined)[] = []
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const transport = new Transport(
    socket,
    { side: 'server', hostKeys: [] },
    {
      ...{ ready() {}, message() {}, drained() {} },
      closed: (error) => void closed.push(error),
      ...handlers,
    },
  )
  return { socket, transport, closed }
}

describe('a transport whose handler throws', () => {
  test('when the socket takes more again: ends, and says why', async () => {
    const { socket, transport, closed } = transportWith({ drained: mistake })
    socket.emit('drain')
    expect(transport.isOver).toBe(true)
    socket.destroy()
    await new Promise((resolve) => setImmediate(resolve))
    expect(closed.map((error) => error?.message)).toEqual(['a mistake of ours'])
  })

  test.each(['end', 'close'])('at the %s of the socket: is over', (event) => {
    const { socket, transport } = transportWith({ ending: mistake, closed: mistake })
    socket.emit(event)
    expect(transport.isOver).toBe(true)
  })
})

test('the end of a connection reaches everybody who waits for it, also past one who throws', () => {
  const { transport } = transportWith({})
  const connection = new Connection(
    transport,
    { open() {}, globalRequest() {} },
    { clock: createTestClock(), channelsMax: 10, keepaliveMs: 1_000 },
  )
  const told: string[] = []
  const handlers = { data() {}, eof() {}, closed() {}, request() {}, drained() {} }
  const open = (refused: () => void): void =>
    connection.open('session', Buffer.alloc(0), { handlers, opened() {}, refused })
  open(mistake)
  open(() => told.push('refused'))
  connection.globalRequest('x', Buffer.alloc(0), () => told.push('answered'))
  expect(() => connection.end()).toThrow('a mistake of ours')
  expect(told).toEqual(['refused', 'answered'])
  expect(() => connection.end()).not.toThrow()
})
