import { connect as connectTcp } from 'node:net'
import { Client } from 'pg'
import { postgres } from '../../protocols/postgres/index.ts'
import { startFakePostgres } from '../fakes/postgres-upstream.ts'
import type { ConformanceCase, ConformanceClient } from './conformance-case.ts'

interface PgInternals {
  connection: { stream: { pause(): void; destroy(): void } }
  processID: number
  secretKey: number
}

export const postgresCase: ConformanceCase = {
  engine: postgres,
  startUpstream: startFakePostgres,
  loginFaults: ['silent', 'demands-cleartext'],
  answerFaults: ['dies-in-answer', 'huge-length', 'out-of-step'],
  async connect(server, certificates) {
    const told: string[] = []
    let closed = false
    const client = new Client({
      host: '127.0.0.1',
      port: server.port,
      user: 'me',
      database: 'shop',
      ssl: {
        servername: `resource.${server.domain}`,
        ca: certificates.caPem,
        cert: certificates.read('client', 'crt'),
        key: certificates.read('client', 'key'),
      },
    })
    const tell = (error: Error & { hint?: string; code?: string }): void => {
      told.push(`${error.code ?? ''} ${error.message} ${error.hint ?? ''}`)
    }
    client.on('error', tell)
    client.on('end', () => {
      closed = true
    })
    await client.connect()
    const internals = client as unknown as PgInternals
    const connected: ConformanceClient = {
      run: (text) =>
        client.query(text).catch((error: Error) => {
          tell(error)
          throw error
        }),
      get told() {
        return told.join('\n')
      },
      get closed() {
        return closed
      },
      stopReading: () => internals.connection.stream.pause(),
      cancel: () =>
        new Promise((resolve) => {
          const packet = Buffer.alloc(16)
          packet.writeUInt32BE(16, 0)
          packet.writeUInt32BE(80_877_102, 4)
          packet.writeInt32BE(internals.processID, 8)
          packet.writeInt32BE(internals.secretKey, 12)
          const socket = connectTcp(server.port, '127.0.0.1', () => socket.write(packet))
          socket.on('close', () => resolve())
        }),
      destroy: () => internals.connection.stream.destroy(),
    }
    return connected
  },
}
