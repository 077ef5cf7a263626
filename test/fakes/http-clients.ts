/** Clients of a stack's apps, each of its own making: ws, Node's HTTP/1.1 and HTTP/2, grpc-js. */
import * as grpc from '@grpc/grpc-js'
import { readFileSync } from 'node:fs'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { WebSocket } from 'ws'
import { httpDomain, type HttpPerson, type HttpStack } from '../http-stack.ts'

export type HttpTarget = Pick<HttpStack, 'httpPort' | 'caFile'>

/** With which a client shows who asks. */
export interface HttpEvidence {
  readonly certificate?: Pick<HttpPerson, 'certificatePem' | 'keyPem'>
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
}

export const bearerOf = (token: string): HttpEvidence => ({
  headers: { authorization: `Bearer ${token}` },
})

/** `app` empty: the domain itself. */
const nameOf = (app: string): string => (app === '' ? httpDomain : `${app}.${httpDomain}`)

export const authorityOf = ({ httpPort }: HttpTarget, app: string): string =>
  `${nameOf(app)}:${httpPort}`

const tlsOf = ({ caFile }: HttpTarget, app: string, { certificate }: HttpEvidence) => ({
  ca: readFileSync(caFile),
  servername: nameOf(app),
  ...(certificate === undefined
    ? {}
    : { cert: certificate.certificatePem, key: certificate.keyPem }),
})

export interface Told {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

export interface Http1Client {
  /** One request. Rejects if the connection ends before the answer does. */
  ask(
    path: string,
    how?: { method?: string; headers?: HttpEvidence['headers']; body?: string },
  ): Promise<Told>
  start(path: string, how?: { method?: string; headers?: HttpEvidence['headers'] }): ClientRequest
  /** Connections that it has open. */
  readonly connections: number
  close(): void
}

/** One connection to one app at a time, kept. */
export function openHttp1(
  target: HttpTarget,
  app: string,
  evidence: HttpEvidence = {},
): Http1Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 })
  const start: Http1Client['start'] = (path, { method = 'GET', headers = {} } = {}) =>
    request({
      ...{ agent, host: '127.0.0.1', port: target.httpPort, method, path },
      ...tlsOf(target, app, evidence),
      headers: { host: authorityOf(target, app), ...evidence.headers, ...headers } as Record<
        string,
        string
      >,
    })
  return {
    start,
    ask: (path, { body, ...how } = {}) =>
      new Promise((resolve, reject) => {
        const outgoing = start(path, how)
        outgoing.on('error', reject)
        outgoing.on('response', (response) => {
          let text = ''
          response.on('data', (part: Buffer) => (text += part.toString()))
          response.on('error', reject)
          response.on('end', () =>
            resolve({ status: response.statusCode!, headers: response.headers, text }),
          )
        })
        outgoing.end(body)
      }),
    get connections() {
      return Object.values(agent.sockets).length + Object.values(agent.freeSockets).length
    },
    close: () => agent.destroy(),
  }
}

export interface Http2Client {
  readonly session: ClientHttp2Session
  start(path: string, headers?: OutgoingHttpHeaders, hasBody?: boolean): ClientHttp2Stream
  /** One request on the connection. Rejects if its stream is reset. */
  ask(path: string, headers?: OutgoingHttpHeaders, body?: string): Promise<Told>
  close(): void
}

export async function openHttp2(
  target: HttpTarget,
  app: string,
  evidence: HttpEvidence = {},
): Promise<Http2Client> {
  const session = connectHttp2(`https://127.0.0.1:${target.httpPort}`, tlsOf(target, app, evidence))
  session.on('error', () => {})
  await new Promise((resolve, reject) => {
    session.once('connect', resolve)
    session.once('error', reject)
  })
  const start: Http2Client['start'] = (path, headers = {}, hasBody = false) => {
    const stream = session.request(
      {
        ':path': path,
        ':authority': authorityOf(target, app),
        ...(evidence.headers as OutgoingHttpHeaders),
        ...headers,
      },
      { endStream: !hasBody },
    )
    stream.on('error', () => {})
    return stream
  }
  return {
    session,
    start,
    ask: (path, headers, body) =>
      new Promise((resolve, reject) => {
        const stream = start(path, headers, body !== undefined)
        let told: IncomingMessage['headers'] = {}
        let status = 0
        let text = ''
        stream.on('response', (fields) => {
          status = Number(fields[':status'])
          told = fields
        })
        stream.on('data', (part: Buffer) => (text += part.toString()))
        stream.on('error', reject)
        stream.on('close', () => {
          if (stream.rstCode === 0 && status !== 0) resolve({ status, headers: told, text })
          else reject(new Error(`the stream was reset: ${stream.rstCode}`))
        })
        if (body !== undefined) stream.end(body)
      }),
    close: () => session.destroy(),
  }
}

export interface Chat {
  readonly socket: WebSocket
  /** Says something, and waits for what is said next. */
  say(text: string): Promise<string>
  /** Code and reason of its end. */
  readonly closed: Promise<{ code: number; reason: string }>
}

/** A WebSocket that is open. Rejects with the status that it was refused with. */
export async function openChat(
  target: HttpTarget,
  app: string,
  path: string,
  evidence: HttpEvidence = {},
): Promise<Chat> {
  const socket = new WebSocket(`wss://127.0.0.1:${target.httpPort}${path}`, {
    ...tlsOf(target, app, evidence),
    headers: { host: authorityOf(target, app), ...evidence.headers } as Record<string, string>,
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('unexpected-response', (_request, { statusCode }) => {
      socket.terminate()
      reject(new Error(`refused with ${statusCode}`))
    })
    socket.on('error', reject)
  })
  return {
    socket,
    closed,
    say: (text) =>
      new Promise((resolve, reject) => {
        socket.once('message', (data: Buffer) => resolve(data.toString()))
        socket.once('close', (code) => reject(new Error(`closed with ${code}`)))
        socket.send(text)
      }),
  }
}

/** As grpcurl is told: an address, an authority, TLS with these roots, and metadata. */
export function openGrpc(
  target: HttpTarget,
  app: string,
  { certificate }: HttpEvidence = {},
): grpc.Client {
  const roots = readFileSync(target.caFile)
  const credentials =
    certificate === undefined
      ? grpc.credentials.createSsl(roots)
      : grpc.credentials.createSsl(
          roots,
          Buffer.from(certificate.keyPem),
          Buffer.from(certificate.certificatePem),
        )
  return new grpc.Client(`127.0.0.1:${target.httpPort}`, credentials, {
    'grpc.ssl_target_name_override': `${app}.${httpDomain}`,
    'grpc.default_authority': authorityOf(target, app),
  })
}
