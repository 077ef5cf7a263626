import { describe, expect, test } from 'vitest'
import { Channel } from '../../../protocols/ssh/wire/channel.ts'
import { Pile } from '../../../protocols/ssh/relay/pile.ts'
import type { Transport } from '../../../protocols/ssh/wire/transport.ts'

function open(remoteWindow: number) {
  const sent: { extended: number; bytes: Buffer }[] = []
  const received: Buffer[] = []
  const transport: Pick<Transport, 'send' | 'sendData' | 'isCongested'> = {
    isCongested: false,
    send() {},
    sendData: (_channel, extended, bytes, start, end) =>
      void sent.push({ extended, bytes: Buffer.from(bytes.subarray(start, end)) }),
  }
  const channel = new Channel({
    transport: transport as Transport,
    ...{ localId: 0, remoteId: 0, remoteWindow, packetBytesMax: 32_768, forget() {} },
    handlers: {
      data: (bytes) => void received.push(bytes),
      eof() {},
      closed() {},
      request() {},
      drained() {},
    },
  })
  return { channel, sent, received }
}

describe('a channel', () => {
  test('puts small chunks together where they wait, in order and by kind', () => {
    const { channel, sent } = open(0)
    for (let n = 0; n < 100; n++) channel.write(Buffer.of(n))
    channel.write(Buffer.from('error'), 1)
    channel.write(Buffer.alloc(5_000, 65))
    channel.write(Buffer.from('last'))
    channel.receivedWindow(50)
    channel.receivedWindow(1_000_000)
    expect(sent.length).toBeLessThan(8)
    const out = Buffer.concat(sent.filter(({ extended }) => extended === 0).map(bytesOf))
    const wanted = [...Array.from({ length: 100 }, (_, n) => n)]
    expect(
      out.equals(Buffer.from([...wanted, ...Buffer.alloc(5_000, 65), ...Buffer.from('last')])),
    ).toBe(true)
    expect(
      sent
        .filter(({ extended }) => extended === 1)
        .map(bytesOf)
        .join(''),
    ).toBe('error')
  })

  test('passes nothing on where nothing came', () => {
    const { channel, received } = open(0)
    channel.received(Buffer.alloc(0), 0)
    channel.received(Buffer.of(1), 0)
    expect(received).toEqual([Buffer.of(1)])
  })
})

test('a pile gives back what was put in, in few pieces', () => {
  const pile = new Pile()
  const put = Buffer.from(Array.from({ length: 150_000 }, (_, n) => n % 251))
  for (let at = 0; at < 1_000; at++) pile.push(put.subarray(at, at + 1))
  pile.push(put.subarray(1_000))
  const out: Buffer[] = []
  for (let next = pile.shift(); next !== undefined; next = pile.shift()) out.push(next)
  expect(out.length).toBe(3)
  expect(Buffer.concat(out).equals(put)).toBe(true)
})

function bytesOf({ bytes }: { bytes: Buffer }): Buffer {
  return bytes
}
