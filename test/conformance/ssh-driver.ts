import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ssh2, { type Client, type ClientChannel } from 'ssh2'
import { startSshd } from '../fakes/sshd-site.ts'
import { startSshSite } from '../fakes/ssh-site.ts'
import { exchange, type Driver, type OpenClient } from './drivers.ts'

export const sshDriver: Driver = {
  // In SSH it is the method that is refused: who shows nothing has asked for nothing yet.
  withoutEvidence: { told: 'authentication methods failed', arrivals: [] },
  inTheClear: /^SSH-2\.0-/,
  async start() {
    const sshd = await startSshd()
    return {
      secret: sshd.privateKey,
      stop: () => sshd.stop(),
      async serve(limits = {}) {
        const site = await startSshSite(sshd, { limits })
        return {
          gate: site.gate,
          server: site.server,
          async open() {
            const session = connectSsh(site.server.port, readFileSync(join(site.folder, 'id')))
            const opened = openSsh(session)
            await opened.ready
            // A client is in when its first channel is.
            await opened.say('is it open?').catch((error: unknown) => {
              session.end()
              throw error
            })
            return opened
          },
          openWithoutEvidence: () =>
            new Promise((resolve) => {
              const client = connectSsh(site.server.port, undefined)
              client.on('error', (error) => resolve(error.message))
              client.on('ready', () => resolve('it let us in'))
            }),
          openInTheClear: () => exchange(site.server.port, Buffer.from('USER me\r\nPASS me\r\n')),
          close: () => site.close(),
        }
      },
    }
  },
}

/** What it is told apart from the answers: the reason of a disconnect is only in the log of ssh2. */
export function connectSsh(
  port: number,
  privateKey: Buffer | undefined,
): Client & { told: string } {
  const client = Object.assign(new ssh2.Client(), { told: '' })
  client.connect({
    ...{ host: '127.0.0.1', port, username: 'sallyport~orders-db' },
    ...(privateKey === undefined ? {} : { privateKey }),
    debug(line) {
      if (line.includes('Received DISCONNECT')) client.told += line
    },
  })
  return client
}

function openSsh(client: Client & { told: string }): OpenClient & { ready: Promise<void> } {
  const ready = new Promise<void>((resolve, reject) => {
    client.on('ready', resolve)
    client.on('error', reject)
  })
  ready.catch(() => {})
  const ended = new Promise<string>((resolve) => client.on('close', () => resolve(client.told)))
  return {
    ready,
    ended,
    say: (word) =>
      new Promise((resolve, reject) => {
        client.exec(`echo '${word}'`, (error, channel: ClientChannel) => {
          if (error !== undefined) {
            reject(error)
            return
          }
          let out = ''
          let err = ''
          channel.on('data', (chunk: Buffer) => (out += chunk.toString()))
          channel.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
          channel.on('close', (code: number) =>
            code === 0 ? resolve(out) : reject(new Error(err)),
          )
        })
      }),
    linger: () =>
      client.exec('sleep 300', { pty: true }, (_error, channel: ClientChannel | undefined) =>
        channel?.on('data', (chunk: Buffer) => (client.told += chunk.toString())),
      ),
    vanish() {
      const { _sock: socket } = client as unknown as { _sock: { destroy(): void } }
      socket.destroy()
    },
    async leave() {
      client.end()
      await ended
    },
  }
}
