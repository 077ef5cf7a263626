/** A client of HTTP/2 that listens to the proxy's events beside what it asks. */
import { connect as connectHttp2, type ClientHttp2Stream } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import { randomBytes } from 'node:crypto'
import type { EngineServer } from '../fakes/engine-server.ts'

export interface HttpClient {
  /** Resolves to the body of a 2xx; rejects with what was told. */
  ask(path: string, body?: string): Promise<string>
  /** Resets what was asked last. */
  reset(): void
  /** Events of the proxy's, and problems that were the answer to something. */
  readonly told: string
  readonly closed: boolean
  /** All that it was told, once its events have ended. */
  readonly ended: Promise<string>
  stopReading(): void
  destroy(): void
  leave(): Promise<void>
}

/** Each has a token of its own, and so a session. Rejects with what it is told instead of events. */
export async function connectHttp(
  { port, domain }: EngineServer,
  caPem: string,
  name: string,
): Promise<HttpClient> {
  const host = `${name}.${domain}`
  const socket = connectTls({
    ...{ port, host: '127.0.0.1', servername: host, ca: caPem, ALPNProtocols: ['h2'] },
    checkServerIdentity: () => undefined,
  })
  const session = connectHttp2(`https://${host}:${port}`, { createConnection: () => socket })
  session.on('error', () => {})
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const authorization = `Bearer spa_${randomBytes(24).toString('base64url')}`
  let told = ''
  let isPaused = false
  let last: ClientHttp2Stream | undefined

  const begin = (path: string, body?: string): ClientHttp2Stream => {
    const stream = session.request({
      ...{ ':path': path, ':method': body === undefined ? 'GET' : 'POST', authorization },
      ...(body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
    })
    stream.end(body)
    return stream
  }
  const ended = (stream: ClientHttp2Stream): Promise<string> =>
    new Promise((resolve, reject) => {
      let text = ''
      let status = 0
      stream.on('response', (headers) => (status = headers[':status'] ?? 0))
      if (!isPaused) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
      stream.on('error', reject)
      stream.on('close', () => {
        const isWhole = status < 300 && stream.readableEnded && stream.rstCode === 0
        if (isWhole) resolve(text)
        else reject(tellProblem(text))
      })
    })
  const tellProblem = (text: string): Error => {
    told += text
    if (!text.startsWith('{')) return new Error(`broken off after ${JSON.stringify(text)}`)
    const { detail, hint } = JSON.parse(text) as { detail: string; hint?: string }
    return Object.assign(new Error(detail), { hint })
  }

  const events = begin('/.sallyport/events')
  let isEnded = false
  const over = ended(events).then(
    (text) => (told += text),
    () => told,
  )
  void over.then(() => {
    isEnded = true
    // What is open hears how it ended.
    session.close()
  })
  await new Promise<void>((resolve, reject) => {
    events.once('response', (headers) => {
      if (headers[':status'] === 200) resolve()
    })
    ended(events).catch(reject)
  }).catch((error: unknown) => {
    session.destroy()
    throw error
  })
  return {
    async ask(path, body) {
      last = begin(path, body)
      return ended(last)
    },
    reset: () => last?.close(8),
    get told() {
      return told
    },
    get closed() {
      return isEnded || socket.destroyed
    },
    ended: over,
    stopReading() {
      isPaused = true
    },
    destroy: () => void socket.destroy(),
    async leave() {
      session.destroy()
      await gone
    },
  }
}
