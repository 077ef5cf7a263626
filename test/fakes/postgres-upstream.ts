/** A server that logs everybody in and then behaves, or misbehaves, as told. */
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { server } from '../unit/postgres/messages.ts'
import { message } from '../../protocols/postgres/wire.ts'

export type Misbehaviour =
  /** Answers every statement with one row. */
  | 'none'
  /** Takes the connection and says nothing. */
  | 'silent'
  /** Offers SCRAM, and says nothing once the client began with it. */
  | 'stops-in-login'
  /** Demands the password in clear. */
  | 'demands-cleartext'
  /** Takes statements and never answers. */
  | 'stuck'
  /** Closes in the middle of a row. */
  | 'dies-in-answer'
  /** Says that a row has two gigabytes. */
  | 'huge-length'
  /** Answers what was not asked. */
  | 'out-of-step'
  /** Sends rows without end, as fast as they are taken. */
  | 'floods'

export interface FakePostgres {
  readonly port: number
  behaviour: Misbehaviour
  /** Connections that said a start-up packet. */
  readonly logins: number
  readonly open: number
  /** Chunks that came, of all connections, the login's among them. */
  readonly packets: number
  /** Everything that came after the login, of all connections. */
  readonly received: Buffer
  readonly cancelRequests: number
  /** Bytes that the flood could hand to its socket. */
  readonly flooded: number
  close(): Promise<void>
}

export async function startFakePostgres(): Promise<FakePostgres> {
  const sockets = new Set<Socket>()
  let received = Buffer.alloc(0)
  let logins = 0
  let packets = 0
  let cancelRequests = 0
  let flooded = 0
  const listener = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let loggedIn = false
    let asked = false
    socket.on('data', (chunk) => {
      packets++
      if (fake.behaviour === 'silent') return
      if (fake.behaviour === 'stops-in-login') {
        if (!asked) socket.write(message(0x52, Buffer.from('\0\0\0\x0aSCRAM-SHA-256\0\0')))
        asked = true
        return
      }
      if (loggedIn) {
        received = Buffer.concat([received, chunk])
        answer(socket, chunk)
        return
      }
      if (chunk.length === 16 && chunk.readUInt32BE(4) === 80_877_102) {
        cancelRequests++
        socket.end()
        return
      }
      if (fake.behaviour === 'demands-cleartext') {
        socket.write(message(0x52, Buffer.from([0, 0, 0, 3])))
        return
      }
      loggedIn = true
      logins++
      socket.write(
        Buffer.concat([
          message(0x52, Buffer.alloc(4)),
          server.parameter('server_version', '18.0'),
          server.parameter('client_encoding', 'UTF8'),
          message(0x4b, Buffer.alloc(8, 7)),
          server.ready(),
        ]),
      )
    })
  })
  const answer = (socket: Socket, chunk: Buffer): void => {
    if (chunk[0] !== 0x51) return
    const row = server.row('x'.repeat(1000))
    switch (fake.behaviour) {
      case 'stuck':
        break
      case 'dies-in-answer':
        socket.end(Buffer.concat([server.rowDescription(), row.subarray(0, 100)]))
        break
      case 'huge-length':
        socket.write(Buffer.from([0x44, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]))
        break
      case 'out-of-step':
        socket.write(Buffer.concat([server.parsed(), server.ready()]))
        break
      case 'floods': {
        const many = Buffer.concat(Array.from({ length: 64 }, () => row))
        const pour = (): void => {
          while (!socket.destroyed && socket.write(many)) flooded += many.length
          flooded += many.length
        }
        socket.on('drain', pour)
        socket.write(server.rowDescription())
        pour()
        break
      }
      default:
        socket.write(
          Buffer.concat([
            server.rowDescription(),
            row,
            server.complete('SELECT 1'),
            server.ready(),
          ]),
        )
    }
  }
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve)
  })
  const fake: FakePostgres = {
    port: (listener.address() as AddressInfo).port,
    behaviour: 'none',
    get logins() {
      return logins
    },
    get open() {
      return sockets.size
    },
    get packets() {
      return packets
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
        listener.close(() => resolve())
      }),
  }
  return fake
}
