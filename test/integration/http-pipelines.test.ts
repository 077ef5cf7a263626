/** More requests in a row than wait at a time: those before the limit are answered whole and in order, then the connection ends (RFC 9112, 9.3.2). */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import { eventually } from '../fakes/postgres-site.ts'

const waitingMax = 64

let site: HttpSite
beforeAll(async () => {
  site = await startHttpSite({ gate: { level: 'write' } })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})
beforeEach(() => {
  site.reached.length = 0
})

const request = (at: number): string =>
  `GET /${at} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`

async function pipeline(count: number, more = '') {
  const socket = await site.connect()
  const parts: Buffer[] = []
  let error: string | undefined
  let isEnded = false
  socket.removeAllListeners('error')
  socket.on('error', ({ message }) => (error ??= message))
  socket.on('data', (chunk: Buffer) => parts.push(chunk))
  socket.on('end', () => (isEnded = true))
  socket.write(Array.from({ length: count }, (_, at) => request(at)).join(''))
  return {
    send: () => socket.write(more),
    close: () => socket.destroy(),
    closed: new Promise<void>((resolve) => socket.once('close', () => resolve())),
    get told() {
      return { text: Buffer.concat(parts).toString('latin1'), error, isEnded }
    },
  }
}

const said = (text: string): number[] =>
  [...text.matchAll(/answer (\d+) y*!/g)].map(([, at]) => Number(at))

test.each([
  ['small', waitingMax + 1, 10],
  ['many', 3_000, 10],
  ['large', 200, 300_000],
])('%s answers to those before the limit arrive whole', async (_what, count, length) => {
  const held: (() => void)[] = []
  site.answer = ({ url = '' }, response) => {
    const answer = (): void => void response.end(`answer ${url.slice(1)} ${'y'.repeat(length)}!`)
    // All arrive before the first is answered.
    if (url === '/0') held.push(answer)
    else answer()
  }
  const before = site.gate.records.length
  const client = await pipeline(count)
  await eventually(() => held.length === 1)
  held[0]!()
  await client.closed
  const { text, error, isEnded } = client.told
  expect(said(text)).toEqual(Array.from({ length: waitingMax }, (_, at) => at))
  expect({ error, isEnded }).toEqual({ error: undefined, isEnded: true })
  expect(text.match(/^Connection: close\r$/gim)).toHaveLength(1)
  expect(text.slice(text.lastIndexOf('HTTP/1.1 '))).toMatch(/\r\nConnection: close\r\n/i)
  expect(site.reached.map(({ url }) => url)).toEqual(
    Array.from({ length: waitingMax }, (_, at) => `/${at}`),
  )
  await eventually(() => site.gate.records.every(({ outcomes }) => outcomes.length === 1))
  expect(site.gate.records.length - before).toBe(waitingMax)
})

test('as many as wait at a time leave the connection open, whatever number comes later', async () => {
  site.answer = ({ url = '' }, response) => void response.end(`answer ${url.slice(1)} y!`)
  const client = await pipeline(
    waitingMax,
    Array.from({ length: waitingMax }, (_, at) => request(waitingMax + at)).join(''),
  )
  await eventually(() => said(client.told.text).length === waitingMax)
  client.send()
  await eventually(() => said(client.told.text).length === 2 * waitingMax)
  expect(client.told).toMatchObject({ isEnded: false, error: undefined })
  client.close()
})
