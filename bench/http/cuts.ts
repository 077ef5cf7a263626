/** How long what is open lives on after the order to revoke its grant, as its clients see it: WebSockets, events and downloads. */
import { once } from 'node:events'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import {
  bearerOf,
  openChat,
  openHttp1,
  openHttp2,
  type HttpEvidence,
} from '../../test/fakes/http-clients.ts'
import type { HttpPerson, HttpStack } from '../../test/http-stack.ts'
import { announce } from '../announce.ts'

export const cutKinds = [
  'websocket',
  'events',
  'download',
  'events_http2',
  'download_http2',
] as const
export type CutKind = (typeof cutKinds)[number]

export interface CutSample {
  readonly kind: CutKind
  /** From the order's being sent to control to the end at the client. Milliseconds. */
  readonly ms: number
}

/** Time for everything to flow before the order. */
const flowingMs = 200

interface Opened {
  /** Resolves when it ended as a cut ends it; rejects when it ended in another way. */
  readonly ended: Promise<unknown>
  close(): void
}

/** Opens one of each under a grant of its own and revokes it, `rounds` times. `app` is a `startWebApp`. */
export async function measureCuts(
  stack: HttpStack,
  person: HttpPerson,
  app: string,
  rounds: number,
  clock: Clock,
): Promise<CutSample[]> {
  announce(`cuts of WebSockets, events and downloads, ${rounds} times`)
  const evidence = bearerOf(await person.token())
  const samples: CutSample[] = []
  for (let round = 0; round < rounds; round += 1) {
    const grant = await stack.grant(person, app)
    const opened = await Promise.all(
      cutKinds.map(async (kind) => ({ kind, ...(await open[kind](stack, app, evidence)) })),
    )
    let sentAtMs = 0
    const measured = opened.map(async ({ kind, ended }) => {
      await ended
      return { kind, ms: clock.monotonicMs() - sentAtMs }
    })
    const all = Promise.all(measured)
    // One that fails before the order is told of after it.
    all.catch(() => {})
    await sleep(clock, flowingMs)
    sentAtMs = clock.monotonicMs()
    const body = { reason: 'the benchmark revokes it' }
    await stack.api.call('grantRevoke', { params: { id: grant.id }, body })
    samples.push(...(await all))
    for (const each of opened) each.close()
  }
  return samples
}

const open: Record<
  CutKind,
  (stack: HttpStack, app: string, evidence: HttpEvidence) => Promise<Opened>
> = {
  async websocket(stack, app, evidence) {
    const { socket, closed } = await openChat(stack, app, '/ticks', evidence)
    const ended = closed.then(({ code }) => expectEnd(code === 1008, `closed with ${code}`))
    return { ended, close: () => socket.terminate() }
  },
  events: (...where) => openOverHttp1(...where, '/events'),
  download: (...where) => openOverHttp1(...where, '/endless'),
  events_http2: (...where) => openOverHttp2(...where, '/events'),
  download_http2: (...where) => openOverHttp2(...where, '/endless'),
}

async function openOverHttp1(
  stack: HttpStack,
  app: string,
  evidence: HttpEvidence,
  path: string,
): Promise<Opened> {
  const client = openHttp1(stack, app, evidence)
  const outgoing = client.start(path)
  const ended = new Promise<void>((resolve, reject) => {
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      response.on('error', () => {})
      response.on('close', () => {
        if (response.complete) reject(new Error(`${path} ended as if it were whole`))
        else resolve()
      })
      response.resume()
    })
  })
  outgoing.end()
  const [response] = (await once(outgoing, 'response')) as [{ statusCode: number }]
  await expectEnd(response.statusCode === 200, `${path} was refused with ${response.statusCode}`)
  return { ended, close: () => client.close() }
}

async function openOverHttp2(
  stack: HttpStack,
  app: string,
  evidence: HttpEvidence,
  path: string,
): Promise<Opened> {
  const client = await openHttp2(stack, app, evidence)
  const stream = client.start(path)
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('close', () => {
      if (stream.rstCode === 0) reject(new Error(`${path} ended as if it were whole`))
      else resolve()
    })
  })
  const [headers] = (await once(stream, 'response')) as [{ ':status': number }]
  stream.resume()
  await expectEnd(headers[':status'] === 200, `${path} was refused with ${headers[':status']}`)
  return { ended, close: () => client.close() }
}

async function expectEnd(holds: boolean, otherwise: string): Promise<void> {
  if (!holds) throw new Error(`the benchmark of cuts: ${otherwise}`)
}
