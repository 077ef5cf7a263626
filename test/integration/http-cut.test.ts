/** Whatever is open when access ends: all of it ends at once, with the right code, and the audit can prove it. */
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SessionView } from '../../control/api/shapes.ts'
import { eventually } from '../demo-site.ts'
import {
  bearerOf,
  openChat,
  openGrpc,
  openHttp1,
  openHttp2,
  type HttpEvidence,
  type HttpTarget,
} from '../fakes/http-clients.ts'
import { startRelay } from '../fakes/relay.ts'
import {
  grpcMethods,
  startGrpcApp,
  startWebApp,
  type GrpcApp,
  type WebApp,
} from '../fakes/web-app.ts'
import { startHttpStack, type HttpPerson, type HttpStack } from '../http-stack.ts'

let wiki: WebApp
let api: GrpcApp
let stack: HttpStack
const ends: (() => unknown)[] = []

beforeAll(async () => {
  ;[wiki, api] = await Promise.all([startWebApp(), startGrpcApp()])
  const rules = [{ path: '/**', needs: 'read' as const }]
  stack = await startHttpStack({
    apps: {
      wiki: { port: wiki.port, http: { rules }, resource: { warnBeforeMs: [60_000] } },
      api: { port: api.port, http: { version: '2', rules } },
    },
  })
})
afterAll(async () => {
  for (const end of ends.reverse()) await end()
  await stack?.stop()
  await wiki?.close()
  api?.close()
})

const piece = Buffer.alloc(16_384, 'y')
/** What an answer was in the end: cut while it came, or a refusal that says why. */
const refusalOf = (status: number, text: string): string =>
  `${status} ${(JSON.parse(text) as { reason?: string }).reason}`

function streamOfHttp1(
  evidence: HttpEvidence,
  path: string,
  { method = 'GET', reads = true } = {},
): { flowing: Promise<unknown>; ended: Promise<string> } {
  const client = openHttp1(stack, 'wiki', evidence)
  ends.push(() => client.close())
  const flowing = Promise.withResolvers<void>()
  const outgoing = client.start(path, { method })
  const ended = new Promise<string>((resolve) => {
    outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(`error ${error.code}`))
    outgoing.on('response', (response) => {
      let text = ''
      response.on('data', (part: Buffer) => {
        flowing.resolve()
        if (response.statusCode !== 200) text += part.toString()
        else if (!reads) response.pause()
      })
      response.on('error', () => {})
      response.on('close', () => {
        if (response.statusCode !== 200) resolve(refusalOf(response.statusCode!, text))
        else resolve(response.complete ? 'whole' : 'broken off')
      })
    })
  })
  if (method === 'GET') outgoing.end()
  else {
    const more = (): void => {
      while (!outgoing.destroyed && outgoing.write(piece)) continue
    }
    outgoing.on('drain', more)
    more()
  }
  return { flowing: flowing.promise, ended }
}

async function streamsOfHttp2(
  evidence: HttpEvidence,
  paths: readonly string[],
  target: HttpTarget = stack,
): Promise<{ flowing: Promise<unknown>; ended: Promise<string>; path: string }[]> {
  const client = await openHttp2(target, 'wiki', evidence)
  ends.push(() => client.close())
  return paths.map((path) => {
    const isUpload = path === '/upload'
    const flowing = Promise.withResolvers<void>()
    const stream = client.start(path, { ':method': isUpload ? 'POST' : 'GET' }, isUpload)
    let status = 0
    let text = ''
    stream.on('response', (headers) => (status = Number(headers[':status'])))
    stream.on('data', (part: Buffer) => {
      flowing.resolve()
      if (status !== 200) text += part.toString()
    })
    const more = (): void => {
      while (!stream.destroyed && stream.writable && stream.write(piece)) continue
    }
    if (isUpload) {
      stream.on('drain', more)
      more()
    }
    const ended = new Promise<string>((resolve) => {
      // Node’s client keeps a stream that it was asked to stop sending on (NO_ERROR) for as long as something waits in it.
      stream.on('end', () => {
        if (text !== '') resolve(refusalOf(status, text))
      })
      stream.on('close', () => {
        if (text !== '') resolve(refusalOf(status, text))
        else resolve(stream.rstCode === 0 ? `whole ${status}` : `reset ${stream.rstCode}`)
      })
    })
    return { path, ended, flowing: flowing.promise }
  })
}

function streamOfGrpc(evidence: HttpEvidence): {
  flowing: Promise<unknown>
  ended: Promise<string>
} {
  const client = openGrpc(stack, 'api', evidence)
  ends.push(() => client.close())
  const metadata = new grpc.Metadata()
  const shown = evidence.headers?.['authorization']
  if (shown !== undefined) metadata.set('authorization', String(shown))
  const { path, requestSerialize, responseDeserialize } = grpcMethods.both
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)
  call.on('error', () => {})
  const flowing = new Promise((resolve) => call.once('data', resolve))
  const ended = new Promise<string>((resolve) => {
    call.once('status', ({ code }) => resolve(`grpc ${grpc.status[code]}`))
  })
  call.write('hello')
  return { flowing, ended }
}

/** Everything that one can have open, and all of it flowing. */
async function openAll(
  evidence: HttpEvidence,
): Promise<{ readonly ended: Promise<Record<string, string>> }> {
  const results: [string, Promise<string>][] = []
  const add = (name: string, ended: Promise<string>): void => {
    results.push([name, ended])
  }
  const before = { never: wiki.open('/never'), upload: wiki.open('/upload') }
  const flowing: Promise<unknown>[] = []
  for (const path of ['/events', '/endless', '/never', '/upload']) {
    const one = streamOfHttp1(evidence, path, { method: path === '/upload' ? 'POST' : 'GET' })
    if (path === '/events' || path === '/endless') flowing.push(one.flowing)
    add(`HTTP/1.1 ${path}`, one.ended)
  }
  const streams = await streamsOfHttp2(evidence, ['/events', '/endless', '/never', '/upload'])
  for (const one of streams) {
    if (one.path === '/events' || one.path === '/endless') flowing.push(one.flowing)
    add(`HTTP/2 ${one.path}`, one.ended)
  }
  for (const path of ['/ticks', '/quiet']) {
    const chat = await openChat(stack, 'wiki', path, evidence)
    ends.push(() => chat.socket.terminate())
    add(
      `WebSocket ${path}`,
      chat.closed.then(({ code, reason }) => `${code} ${reason}`),
    )
  }
  const call = streamOfGrpc(evidence)
  flowing.push(call.flowing)
  add('gRPC', call.ended)
  await Promise.all(flowing)
  await expect.poll(() => wiki.open('/never') - before.never).toBe(2)
  await expect.poll(() => wiki.open('/upload') - before.upload).toBe(2)
  return {
    ended: Promise.all(results.map(async ([name, ended]) => [name, await ended] as const)).then(
      (all) => Object.fromEntries(all),
    ),
  }
}

interface Cause {
  readonly reason: string
  readonly words: string
  /** Of what is asked with the same afterwards. */
  readonly status: number
  /** Ends access; resolves as soon as control has said that it did. */
  order(of: { person: HttpPerson; grants: readonly string[]; tokenId: string }): Promise<unknown>
}

const tokenOf = (person: HttpPerson) =>
  person.api.call('tokenMake', { body: { name: 'a test', scope: 'apps', forMs: 3_600_000 } })

const because = { reason: 'the incident is over' }
const causes: Record<string, Cause> = {
  'a grant revoked': {
    reason: 'grant-revoked',
    words: 'your access to "wiki" was revoked: the incident is over',
    status: 403,
    order: ({ grants }) =>
      Promise.all(
        grants.map((id) => stack.api.call('grantRevoke', { params: { id }, body: because })),
      ),
  },
  'a person revoked': {
    reason: 'person-revoked',
    words: 'your access was revoked',
    // What was theirs stands for nobody.
    status: 401,
    order: ({ person: { id } }) =>
      stack.api.call('personRevoke', { params: { id }, body: because }),
  },
  'a token revoked': {
    reason: 'certificate-revoked',
    words: 'your API token was revoked',
    status: 401,
    order: ({ tokenId: id }) => stack.api.call('tokenRevoke', { params: { id }, body: because }),
  },
  'sessions cut by an admin': {
    reason: 'cut-by-admin',
    words: 'an admin ended this session: the incident is over',
    status: 200,
    async order({ person }) {
      const live = await stack.sessions(person, (all) => all.length === 2)
      await Promise.all(
        live.map(({ id }) => stack.api.call('sessionCut', { params: { id }, body: because })),
      )
    },
  },
}

const expectedEnds = (reason: string, words: string) => ({
  'HTTP/1.1 /events': 'broken off',
  'HTTP/1.1 /endless': 'broken off',
  'HTTP/1.1 /never': `403 ${reason}`,
  'HTTP/1.1 /upload': `403 ${reason}`,
  'HTTP/2 /events': 'reset 2',
  'HTTP/2 /endless': 'reset 2',
  'HTTP/2 /never': `403 ${reason}`,
  'HTTP/2 /upload': `403 ${reason}`,
  'WebSocket /ticks': `1008 ${words}`,
  'WebSocket /quiet': `1008 ${words}`,
  gRPC: 'grpc INTERNAL',
})

/** The app's side of it all is over too. */
async function expectNothingAtApp(): Promise<void> {
  const paths = ['/events', '/endless', '/never', '/upload', '/ticks', '/quiet']
  await expect.poll(() => paths.filter((path) => wiki.open(path) > 0)).toEqual([])
}

/** Order, last byte, end: as the proxy signed them; and what was in flight has the outcome of it. */
async function expectProof(person: HttpPerson, reason: string): Promise<SessionView[]> {
  const sessions = await stack.sessions(
    person,
    (all) => all.length >= 2 && all.every(({ state, cut }) => state === 'closed' && cut !== null),
  )
  for (const { cut, endReason, openedAtMs } of sessions) {
    expect(endReason).toBe(reason)
    expect(cut!.reason).toBe(reason)
    const { orderedAtMs, lastByteAtMs, closedAtMs } = cut!
    expect(orderedAtMs).toBeGreaterThanOrEqual(openedAtMs)
    expect(lastByteAtMs).toBeLessThanOrEqual(closedAtMs!)
    expect(closedAtMs).toBeGreaterThanOrEqual(orderedAtMs)
  }
  const done = await stack.activities(
    person,
    (all) => all.length >= 13 && all.every(({ outcome }) => outcome !== null),
  )
  const statuses = done.map(({ kind, text, outcome }) => `${kind} ${text} ${outcome!.status}`)
  expect(statuses.toSorted()).toEqual(
    [
      ...['/events', '/endless', '/never'].flatMap((path) =>
        Array.from({ length: 2 }, () => `request GET ${path} cancelled`),
      ),
      ...Array.from({ length: 2 }, () => 'request POST /upload cancelled'),
      'request POST /test.Echo/Both cancelled',
      // Their openings are over; they are not.
      ...['/ticks', '/quiet'].flatMap((path) => [
        `request GET ${path} ok`,
        `websocket WEBSOCKET ${path} cancelled`,
      ]),
    ].toSorted(),
  )
  return [...sessions]
}

test.each(Object.entries(causes))('%s: all that is open ends', async (name, cause) => {
  const person = await stack.person(name.replaceAll(' ', '-'))
  const bystander = await stack.person(`beside-${name.replaceAll(' ', '-')}`)
  const grants = [await stack.grant(person, 'wiki'), await stack.grant(person, 'api')]
  await stack.grant(bystander, 'wiki')
  const beside = await openChat(stack, 'wiki', '/beside', { certificate: bystander })
  ends.push(() => beside.socket.terminate())
  const made = await tokenOf(person)
  const evidence = bearerOf(made.token)
  const open = await openAll(evidence)
  await cause.order({ person, grants: grants.map(({ id }) => id), tokenId: made.id })
  expect(await open.ended).toEqual(expectedEnds(cause.reason, cause.words))
  await expectNothingAtApp()
  await expectProof(person, cause.reason)
  if (cause.reason !== 'cut-by-admin') {
    // Neither on a connection that was there before nor on a new one.
    const arrived = wiki.arrived.length
    const again = openHttp1(stack, 'wiki', evidence)
    ends.push(() => again.close())
    for (let times = 0; times < 2; times++) {
      expect((await again.ask('/again')).status).toBe(cause.status)
    }
    expect(wiki.arrived).toHaveLength(arrived)
  }
  expect(await beside.say('still here')).toBe('app got still here')
})

test('a grant that ends: all that is open ends then', async () => {
  const person = await stack.person('expiring')
  const evidence = bearerOf((await tokenOf(person)).token)
  const forMs = 5_000
  const grants = [
    await stack.grant(person, 'wiki', { forMs }),
    await stack.grant(person, 'api', { forMs }),
  ]
  // Until everything is open, its end stays as far away as it was.
  const opening = new AbortController()
  let sinceMs = performance.now()
  const extended = (async () => {
    while (!opening.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      const byMs = Math.max(1_000, Math.ceil(performance.now() - sinceMs))
      sinceMs += byMs
      const body = { byMs, reason: 'it is slow to open' }
      await Promise.all(
        grants.map(({ id }) => stack.api.call('grantExtend', { params: { id }, body })),
      )
    }
  })()
  const open = await openAll(evidence).finally(() => opening.abort())
  await extended
  expect(await open.ended).toEqual(expectedEnds('grant-expired', 'your access to "wiki" has ended'))
  await expectNothingAtApp()
  await expectProof(person, 'grant-expired')
})

test('before the end each answer says when it is; an extension takes the warning back, and moves what is said', async () => {
  const person = await stack.person('warned')
  const grant = await stack.grant(person, 'wiki', { forMs: 62_000 })
  const client = openHttp1(stack, 'wiki', { certificate: person })
  ends.push(() => client.close())
  const told = () => client.ask('/warned').then(({ headers }) => headers)
  expect((await told())['sallyport-expires-at']).toBeUndefined()
  const warned = await eventually(told, (headers) => headers['sallyport-warning'] !== undefined)
  expect(warned['sallyport-expires-at']).toBe(new Date(grant.expiresAtMs).toISOString())
  expect(warned['sallyport-warning']).toContain(`sally extend ${grant.id}`)
  const extend = (byMs: number) =>
    stack.api.call('grantExtend', {
      params: { id: grant.id },
      body: { byMs, reason: 'it takes longer' },
    })
  await extend(2_000)
  await eventually(told, (headers) => headers['sallyport-warning'] === undefined)
  const again = await eventually(told, (headers) => headers['sallyport-warning'] !== undefined)
  const laterMs = grant.expiresAtMs + 2_000
  expect(again['sallyport-expires-at']).toBe(new Date(laterMs).toISOString())
})

test('a client that reads nothing more keeps nothing open, and is told when it reads again', async () => {
  const person = await stack.person('stalled')
  const grant = await stack.grant(person, 'wiki')
  const evidence = { certificate: person }
  const unread = streamOfHttp1(evidence, '/endless', { reads: false })
  await unread.flowing
  const relay = await startRelay(stack.httpPort)
  ends.push(() => relay.close())
  const [endless, never] = await streamsOfHttp2(evidence, ['/endless', '/never'], {
    ...{ httpPort: relay.port, caFile: stack.caFile },
  })
  await endless!.flowing
  await expect.poll(() => wiki.open('/never')).toBe(1)
  relay.silence()
  await stack.api.call('grantRevoke', { params: { id: grant.id }, body: because })
  await expectNothingAtApp()
  // It closes while its client still says and hears nothing.
  const [session] = await stack.sessions(person, ([one]) => one?.state === 'closed')
  expect(session!.cut).toMatchObject({ reason: 'grant-revoked' })
  relay.mend()
  expect(await endless!.ended).toBe('reset 2')
  expect(['reset 2', '403 grant-revoked']).toContain(await never!.ended)
})
