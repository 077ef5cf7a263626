import { createServer, type AddressInfo, type Socket } from 'node:net'
import { http } from '../../protocols/http/index.ts'
import { httpTerms } from '../fakes/http-app.ts'
import type { ConformanceCase, FaultyUpstream } from './conformance-case.ts'
import { connectHttp } from './http-client.ts'

const fields = 'Content-Type: text/plain\r\n'
const start = `HTTP/1.1 200 OK\r\n${fields}`
/** What comes instead of an answer, and then the end. */
const faults: Readonly<Record<string, string>> = {
  'no answer': '',
  'another protocol': 'SSH-2.0-OpenSSH_9.2\r\n',
  'half a head': 'HTTP/1.1 200 OK\r\nContent-',
  'a huge head': `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(200_000)}\r\n\r\n`,
  'two lengths': `${start}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
  'half a body': `${start}Content-Length: 100\r\n\r\nhalf`,
  'half of the chunks': `${start}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`,
  'a bad chunk': `${start}Transfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n0\r\n\r\n`,
}

/** An app on a raw socket. To give a request up is to cancel it. */
async function startFaultyApp(): Promise<FaultyUpstream> {
  const sockets = new Set<Socket>()
  let received = Buffer.alloc(0)
  let logins = 0
  let cancelRequests = 0
  let flooded = 0

  const flood = (socket: Socket): void => {
    const chunk = Buffer.alloc(64 * 1024, 'x')
    while (!socket.destroyed) {
      flooded += chunk.length
      if (socket.write(chunk)) continue
      socket.once('drain', () => flood(socket))
      return
    }
  }
  const answer = (socket: Socket): void => {
    const { behaviour } = upstream
    if (behaviour === 'stuck') return
    if (behaviour === 'floods') {
      socket.write(`${start}Connection: close\r\n\r\n`)
      flood(socket)
    } else if (faults[behaviour] !== undefined) socket.end(faults[behaviour])
    else socket.write(`${start}Content-Length: 2\r\n\r\nok`)
  }
  const server = createServer((socket) => {
    sockets.add(socket)
    logins += 1
    let request = ''
    let isAsked = false
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      if (isAsked && upstream.behaviour === 'stuck') cancelRequests += 1
    })
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      request += chunk.toString('latin1')
      const end = request.indexOf('\r\n\r\n')
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(request)?.[1] ?? 0)
      if (end < 0 || request.length < end + 4 + length) return
      request = ''
      isAsked = true
      answer(socket)
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const upstream: FaultyUpstream = {
    port: (server.address() as AddressInfo).port,
    behaviour: '',
    get logins() {
      return logins
    },
    get open() {
      return sockets.size
    },
    get received() {
      return received
    },
    get cancelRequests() {
      return cancelRequests
    },
    get flooded() {
      return flooded
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy()
        server.close(() => resolve())
      }),
  }
  return upstream
}

export const httpCase: ConformanceCase = {
  engine: http,
  gate: { http: httpTerms({ credential: { kind: 'bearer' } }), level: 'write' },
  startUpstream: startFaultyApp,
  // Nobody logs in at an app: its first answer is the first that can fail.
  loginFaults: [],
  answerFaults: Object.keys(faults),
  async connect(server, certificates) {
    const client = await connectHttp(server, certificates.caPem, 'wiki')
    return {
      run: (text) =>
        client.ask('/run', text).catch(async (error: unknown) => {
          // Who was told that an answer is broken does not stay.
          if (error instanceof Error && !client.closed) await client.leave()
          throw error
        }),
      get told() {
        return client.told
      },
      get closed() {
        return client.closed
      },
      stopReading: () => client.stopReading(),
      cancel: () => Promise.resolve(client.reset()),
      destroy: () => client.destroy(),
    }
  },
}
