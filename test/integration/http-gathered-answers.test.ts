/** Answers are kept back to the end of their turn: each leaves as one, in order, whole, and not at all once its session is cut. */
import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { apiToken, domain, startHttpSite, type HttpSite } from '../fakes/http-site.ts'
import type { FakeSession } from '../fakes/gate.ts'
import { eventually } from '../fakes/postgres-site.ts'

let site: HttpSite
beforeAll(async () => {
  site = await startHttpSite({ gate: { farewellMs: 60_000 } })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  await site.close()
})
beforeEach(() => {
  site.answer = (_request, response) => response.end('hello')
})

const get = (path: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: wiki.${domain}\r\nAuthorization: Bearer ${apiToken}\r\n\r\n`

/** A client by hand, which remembers each piece that came. */
async function openClient() {
  const socket = await site.connect()
  socket.removeAllListeners('error')
  socket.on('error', () => {})
  const pieces: string[] = []
  socket.on('data', (piece: Buffer) => pieces.push(piece.toString('latin1')))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  return {
    ...{ socket, pieces, closed },
    get text() {
      return pieces.join('')
    },
    async [Symbol.asyncDispose]() {
      socket.destroy()
      await closed
    },
  }
}

/** The session of a client that was answered once, and so has its lease. */
async function openSession(client: Awaited<ReturnType<typeof openClient>>): Promise<FakeSession> {
  client.socket.write(get('/first'))
  await eventually(() => client.text.includes('hello'))
  client.pieces.length = 0
  return site.gate.sessions.at(-1)!
}

test('head and body leave as one, and the connection is kept', async () => {
  await using client = await openClient()
  for (let times = 0; times < 3; times++) {
    client.pieces.length = 0
    client.socket.write(get(`/${times}`))
    await eventually(() => client.text.includes('hello'))
    expect(client.pieces).toHaveLength(1)
  }
})

test('a head that comes alone is not kept back for its body', async () => {
  const answers: ServerResponse[] = []
  site.answer = (_request, response) => {
    answers.push(response)
    response.flushHeaders()
  }
  await using client = await openClient()
  client.socket.write(get('/'))
  await eventually(() => client.text.includes('200 OK'))
  expect(client.text).not.toContain('late')
  answers[0]!.end('late')
  await eventually(() => client.text.includes('late'))
})

test('answers to requests in a row come in their order, each once', async () => {
  site.answer = ({ url }, response) => response.end(`body of ${url}`)
  await using client = await openClient()
  client.socket.write(get('/0') + get('/1') + get('/2'))
  await eventually(() => client.text.includes('body of /2'))
  expect(client.text.match(/body of \/./g)).toEqual(['body of /0', 'body of /1', 'body of /2'])
})

test('an answer that is more than sockets hold comes whole to a client that is slow', async () => {
  const bytes = 16 * 1024 * 1024
  let isTaken = false
  site.answer = (_request, response) => {
    response.writeHead(200, { 'content-length': bytes })
    response.end(Buffer.alloc(bytes, 'y'), () => (isTaken = true))
  }
  await using client = await openClient()
  let got = 0
  client.socket.removeAllListeners('data')
  client.socket.on('data', ({ length }: Buffer) => {
    got += length
    client.socket.pause()
    setImmediate(() => client.socket.resume())
  })
  client.socket.write(get('/'))
  await eventually(() => got > bytes)
  expect(isTaken).toBe(true)
})

test('a client that leaves in the turn of its answer takes nothing else with it', async () => {
  await using other = await openClient()
  const session = await openSession(other)
  await using client = await openClient()
  const settle = session.settle.bind(session)
  session.settle = (...outcome) => {
    settle(...outcome)
    client.socket.destroy()
  }
  client.socket.write(get('/leaves'))
  other.socket.write(get('/stays'))
  await eventually(() => other.text.includes('hello'))
  session.settle = settle
  other.pieces.length = 0
  other.socket.write(get('/again'))
  await eventually(() => other.text.includes('hello'))
})

test.each(['whole', 'begun'])(
  'an answer that is %s and kept back when its session is cut is never sent',
  async (how) => {
    await using client = await openClient()
    const session = await openSession(client)
    let passed = false
    const cutSoon = (): void => {
      if (passed) return
      passed = true
      session.beginCut()
      // The proxy tells its engines once the record of the cut is written: a turn later at times.
      setImmediate(() => setImmediate(() => session.cut()))
    }
    if (how === 'whole') {
      const settle = session.settle.bind(session)
      session.settle = (...outcome) => {
        settle(...outcome)
        cutSoon()
      }
    } else {
      site.answer = (_request, response) => void response.write('hel')
      const count = session.countDownstream.bind(session)
      session.countDownstream = (bytes) => {
        count(bytes)
        cutSoon()
      }
    }
    client.socket.write(get('/second'))
    await client.closed
    expect(client.pieces).toEqual([])
    const { outcomes } = session.records.at(-1)!
    expect(outcomes).toHaveLength(1)
    // What the app did is what is on record: it had answered, or it was in the middle of it.
    expect(outcomes[0]).toMatchObject(
      how === 'whole' ? { status: 'ok', tag: '200' } : { status: 'cancelled', tag: '200' },
    )
  },
)

test('an answer that comes between a cut and its announcement is a refusal that says why', async () => {
  const answers: ServerResponse[] = []
  site.answer = (request, response) => {
    if (request.url === '/second') answers.push(response)
    else response.end('hello')
  }
  await using client = await openClient()
  const session = await openSession(client)
  client.socket.write(get('/second'))
  await eventually(() => answers.length === 1)
  session.beginCut()
  answers[0]!.end('too late')
  await new Promise((resolve) => answers[0]!.once('close', resolve))
  // And its connection to the app, as a proxy ends it.
  site.app.closeAllConnections()
  await new Promise((resolve) => setTimeout(resolve, 20))
  session.cut('grant-revoked', 'your grant was revoked')
  await eventually(() => client.text.includes('your grant was revoked'))
  expect(client.text).toMatch(/^HTTP\/1\.1 403 /)
  expect(client.text).not.toContain('too late')
  expect(session.records.at(-1)!.outcomes).toMatchObject([{ status: 'cancelled', tag: '403' }])
})
