import { generateKeyPairSync, sign } from 'node:crypto'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import ssh2, { type ClientChannel, type ServerChannel } from 'ssh2'
import { encodeSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import { ssh } from '../../protocols/ssh/index.ts'
import type { ConformanceCase, ConformanceClient, FaultyUpstream } from './conformance-case.ts'
import { connectSsh } from './ssh-driver.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const hostKey = encodeSshPublicKey(publicKey)
/** ssh2 reads an Ed25519 key in OpenSSH's form only. */
const upstreamKeys = ssh2.utils.generateKeyPairSync('ed25519')
const upstreamKey = Buffer.from(upstreamKeys.public.split(' ')[1]!, 'base64')
const clientKey = Buffer.from(ssh2.utils.generateKeyPairSync('ed25519').private)

export const sshCase: ConformanceCase = {
  engine: ssh,
  upstream: { ssh: { hostKeys: [upstreamKey], hostAuthorities: [] } },
  hostKeys: () =>
    Promise.resolve([
      {
        ...{ publicKey: hostKey, algorithm: 'ssh-ed25519' },
        sign: (data) => sign(null, data, privateKey),
      },
    ]),
  startUpstream: startFaultySsh,
  loginFaults: ['silent', 'refuses'],
  answerFaults: ['dies-in-answer', 'noise'],
  async connect(server) {
    const client = connectSsh(server.port, clientKey)
    let told = ''
    let closed = false
    let running: ClientChannel | undefined
    let stops = false
    const { _sock: sock } = client as unknown as { _sock: Socket }
    client.on('close', () => (closed = true))
    await new Promise<void>((resolve, reject) => {
      client.on('ready', resolve)
      client.on('error', reject)
    })
    client.on('error', (error) => (told += error.message))
    const run = (text: string): Promise<unknown> =>
      new Promise((resolve, reject) => {
        client.exec(text, (error, channel) => {
          if (error !== undefined) {
            reject(error)
            return
          }
          running = channel
          if (stops) sock.pause()
          let err = ''
          channel.on('data', () => {})
          channel.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
          channel.on('close', (code: number | null | undefined) => {
            told += err
            if (code === 0) resolve(code)
            else reject(new Error(err))
          })
        })
      })
    // A client is in when its first channel is.
    await run('first').catch((error: unknown) => {
      client.end()
      throw error
    })
    const connected: ConformanceClient = {
      run,
      get told() {
        return told + client.told
      },
      get closed() {
        return closed
      },
      // Not before the channel is open: that takes an answer.
      stopReading: () => (stops = true),
      cancel() {
        running?.signal('INT')
        return Promise.resolve()
      },
      destroy: () => void sock.destroy(),
    }
    return connected
  },
}

/** Logs in whoever has the password, and misbehaves in what it runs. */
async function startFaultySsh(): Promise<FaultyUpstream> {
  const sockets = new Set<Socket>()
  let logins = 0
  let received = Buffer.alloc(0)
  let cancelRequests = 0
  let flooded = 0
  const state = { behaviour: 'well' }
  const answer = (channel: ServerChannel, socket: () => Socket): void => {
    switch (state.behaviour) {
      case 'stuck':
        return
      case 'dies-in-answer':
        channel.write('half an ans')
        socket().destroy()
        return
      case 'noise':
        socket().write(Buffer.alloc(4_096, 0xff))
        return
      case 'floods': {
        const chunk = Buffer.alloc(32 * 1024)
        const flood = (): void => {
          while (!channel.destroyed && channel.writable) {
            flooded += chunk.length
            if (!channel.write(chunk)) {
              channel.once('drain', flood)
              return
            }
          }
        }
        flood()
        return
      }
      default:
        channel.exit(0)
        channel.end()
    }
  }
  const server = new ssh2.Server({ hostKeys: [upstreamKeys.private] }, (client) => {
    const { _sock: socket } = client as unknown as { _sock: Socket }
    client.on('error', () => {})
    client.on('authentication', (context) => {
      if (state.behaviour === 'silent') return
      const isRight = context.method === 'password' && state.behaviour !== 'refuses'
      if (isRight) context.accept()
      else context.reject(['password'])
    })
    client.on('ready', () => logins++)
    client.on('session', (accept) => {
      const session = accept()
      session.on('signal', () => cancelRequests++)
      session.on('exec', (accept, _reject, { command }) => {
        received = Buffer.concat([received, Buffer.from(command)])
        const channel = accept()
        let isDone = false
        channel.on('error', () => {})
        channel.on('end', () => (isDone = true))
        channel.on('close', () => {
          if (!isDone || state.behaviour === 'stuck') cancelRequests++
        })
        channel.resume()
        answer(channel, () => socket)
      })
    })
  })
  const listener = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    server.injectSocket(socket)
  })
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (listener.address() as AddressInfo).port,
    get behaviour() {
      return state.behaviour
    },
    set behaviour(behaviour: string) {
      state.behaviour = behaviour
    },
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
        listener.close(() => resolve())
      }),
  }
}
