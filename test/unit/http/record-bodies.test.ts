import { expect, test } from 'vitest'
import { recordBodies } from '../../../protocols/http/relay/record-bodies.ts'
import type { HttpTerms, Session } from '../../../protocols/session.ts'
import { createFakeGate, type FakeSession } from '../../fakes/gate.ts'
import { httpTerms } from '../../fakes/http-app.ts'

async function sessionOf(recorded: HttpTerms['recorded']): Promise<FakeSession> {
  const gate = createFakeGate({
    upstream: { host: '127.0.0.1', port: 1, serverName: 'app', tls: 'disable' },
    ...{ account: 'robot', secret: 's3cret', http: httpTerms({ recorded }) },
  })
  return (await gate.admit({
    evidence: { kind: 'client-certificate', certificate: Buffer.alloc(0) },
    ...{ protocol: 'http', resource: 'wiki', wanted: '' },
    ...{ remoteAddress: '127.0.0.1', remotePort: 1, attributes: {} },
  })) as FakeSession
}
const recorded = { requestBodyBytes: 5, responseBodyBytes: 3, webSocketText: false }

test('of each body the beginning is recorded, and where it was cut off is said', async () => {
  const session = await sessionOf(recorded)
  const bodies = recordBodies(session, 7, 'POST /form')
  for (const part of ['he', 'llo', ' world', '!']) bodies?.request(Buffer.from(part))
  bodies?.answer(Buffer.from('yes'))
  bodies?.end()
  expect(session.recordings).toMatchObject([
    { kind: 'stream', header: { activity: 7, title: 'POST /form' }, ended: true },
  ])
  expect(session.recordings[0]?.parts).toEqual([
    { from: 'client', bytes: Buffer.from('he') },
    { from: 'client', bytes: Buffer.from('llo') },
    { mark: 'of the request only the first 5 bytes are recorded' },
    { from: 'upstream', bytes: Buffer.from('yes') },
  ])
})

test('there is no recording of no body, or where the resource wants none', async () => {
  const session = await sessionOf(recorded)
  recordBodies(session, 7, 'GET /')?.end()
  expect(session.recordings).toEqual([])
  const none = { requestBodyBytes: 0, responseBodyBytes: 0, webSocketText: true }
  expect(recordBodies(await sessionOf(none), 7, 'GET /')).toBeUndefined()
})

test('a recording that is full of waiting bytes holds its side back', async () => {
  const session = await sessionOf(recorded)
  const full: Session = {
    ...session,
    http: httpTerms({ recorded }),
    record: (kind, header) => ({ ...session.record(kind, header), write: () => false }),
  }
  const bodies = recordBodies(full, 7, 'POST /form')
  expect(bodies?.request(Buffer.from('x'))).toBe(false)
  expect(bodies?.answer(Buffer.from('x'))).toBe(false)
})
