/**
 * Real servers of HTTP apps for a real stack: Node's own with WebSockets, and one of gRPC. They tell what reached them, and have answers that
 * last: `/events`, `/endless`, `/never`, and `/upload` for what the client sends without end.
 */
import * as grpc from '@grpc/grpc-js'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'

/** A request as it reached the app. */
export interface Arrived {
  readonly method: string
  readonly url: string
  /** Lower case; all values of a field that came more than once. */
  readonly headers: ReadonlyMap<string, readonly string[]>
  body: string
}

export interface WebApp {
  readonly port: number
  readonly arrived: Arrived[]
  /** Requests and WebSockets that are not over, by path. */
  open(path: string): number
  /** Sockets that the proxy has open to it. */
  readonly connections: number
  close(): Promise<void>
}

const chunk = Buffer.alloc(16_384, 'x')
const tickMs = 10

export async function startWebApp(name = 'app'): Promise<WebApp> {
  const arrived: Arrived[] = []
  const sockets = new Set<Duplex>()
  const open = new Map<string, number>()
  const count = (path: string, by: number): void => {
    open.set(path, (open.get(path) ?? 0) + by)
  }
  const server = createServer((request, response) => {
    const [path = ''] = request.url!.split('?')
    const one = arrivedOf(request)
    arrived.push(one)
    count(path, 1)
    response.once('close', () => count(path, -1))
    response.on('error', () => {})
    request.on('error', () => {})
    request.on('data', (part: Buffer) => {
      if (path !== '/upload') one.body += part.toString()
    })
    answer(name, path, one, request, response)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const webSockets = new WebSocketServer({ server })
  webSockets.on('connection', (socket, request) => {
    const [path = ''] = request.url!.split('?')
    arrived.push(arrivedOf(request))
    count(path, 1)
    // What is said without being asked, so that a cut comes between two frames.
    const ticking = path === '/ticks' ? setInterval(() => socket.send('tick'), tickMs) : undefined
    socket.on('message', (data: Buffer, isBinary) =>
      socket.send(isBinary ? data : `${name} got ${data.toString()}`),
    )
    socket.on('error', () => {})
    socket.once('close', () => {
      clearInterval(ticking)
      count(path, -1)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    arrived,
    open: (path) => open.get(path) ?? 0,
    get connections() {
      return sockets.size
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      webSockets.close()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function arrivedOf({ method = '', url = '', rawHeaders }: IncomingMessage): Arrived {
  const headers = new Map<string, string[]>()
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase()
    headers.set(name, [...(headers.get(name) ?? []), rawHeaders[at + 1]!])
  }
  return { method, url, headers, body: '' }
}

function answer(
  name: string,
  path: string,
  one: Arrived,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  switch (path) {
    case '/never':
    case '/upload':
      request.resume()
      break
    case '/events': {
      response.setHeader('content-type', 'text/event-stream')
      let number = 0
      const ticking = setInterval(() => response.write(`data: ${number++}\n\n`), tickMs)
      response.once('close', () => clearInterval(ticking))
      break
    }
    case '/endless': {
      const more = (): void => {
        while (!response.destroyed && response.write(chunk)) continue
      }
      response.on('drain', more)
      response.writeHead(200, { 'content-type': 'application/octet-stream' })
      more()
      break
    }
    default:
      request.on('end', () => {
        response.setHeader('content-type', 'application/json')
        response.setHeader('set-cookie', [`who=${name}; Path=/; Domain=access.test`, 'other=1'])
        const { method, url, body } = one
        response.end(
          JSON.stringify({
            app: name,
            method,
            url,
            headers: Object.fromEntries(one.headers),
            body,
          }),
        )
      })
  }
}

/** What the app said, as JSON. */
export interface Said {
  readonly app: string
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, readonly string[]>>
  readonly body: string
}

const serialize = (value: string): Buffer => Buffer.from(value)
const deserialize = (bytes: Buffer): string => bytes.toString()
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  ...{ path: `/test.Echo/${name}`, requestStream, responseStream },
  ...{ requestSerialize: serialize, requestDeserialize: deserialize },
  ...{ responseSerialize: serialize, responseDeserialize: deserialize },
})
/** What the app of gRPC understands; messages are text. */
export const grpcMethods = {
  once: method('Once', false, false),
  fails: method('Fails', false, false),
  many: method('Many', false, true),
  /** How many came. */
  count: method('Count', true, false),
  both: method('Both', true, true),
}

export interface GrpcApp {
  readonly port: number
  /** Metadata of each call. */
  readonly arrived: Record<string, unknown>[]
  close(): void
}

export async function startGrpcApp(): Promise<GrpcApp> {
  const arrived: Record<string, unknown>[] = []
  const server = new grpc.Server()
  const took = ({ metadata }: { metadata: grpc.Metadata }): void =>
    void arrived.push(metadata.getMap())
  server.addService(grpcMethods, {
    once(call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) {
      took(call)
      done(null, `got ${call.request}`)
    },
    fails(call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) {
      took(call)
      done({ code: grpc.status.NOT_FOUND, details: 'there is none' })
    },
    many(call: grpc.ServerWritableStream<string, string>) {
      took(call)
      for (let index = 0; index < 100; index++) call.write(`${call.request} ${index}`)
      call.end()
    },
    count(call: grpc.ServerReadableStream<string, string>, done: grpc.sendUnaryData<string>) {
      took(call)
      let parts = 0
      call.on('data', () => parts++)
      call.on('end', () => done(null, String(parts)))
      call.on('error', () => {})
    },
    both(call: grpc.ServerDuplexStream<string, string>) {
      took(call)
      call.on('data', (part: string) => call.write(`got ${part}`))
      call.on('end', () => call.end())
      call.on('error', () => {})
    },
  })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  return { port, arrived, close: () => server.forceShutdown() }
}
