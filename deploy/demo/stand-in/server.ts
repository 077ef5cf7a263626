/**
 * A stand-in for the demo's web1 where no sshd is installed: an SSH server that takes certificates of the given authorities and nothing
 * else, and runs a handful of commands of its own over files in memory. Nothing of this machine can be reached through it, whoever runs it.
 */
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
// CommonJS: Node gives its names only through the default.
import ssh2, { type AuthContext, type Connection } from 'ssh2'
import type { Clock } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { SshCertificate } from '../../../protocols/kit/ssh-certificate.ts'
import { parseSshPublicKeyLine } from '../../../protocols/kit/ssh-public-key.ts'
import { unwrapSshSignature, verifySshSignature } from '../../../protocols/kit/ssh-signature.ts'
import { createFiles } from './files.ts'
import { verifySessionCertificate } from './session-certificate.ts'
import { serveSession } from './session.ts'

export interface StandInOptions {
  /** 0: any free one. */
  readonly port: number
  /** In OpenSSH's form. */
  readonly hostKey: string
  /** Lines of public keys: whose certificates it takes. */
  readonly authorities: readonly string[]
  readonly accounts: readonly string[]
  /** The one port of this machine that may be forwarded to. */
  readonly pagePort: number
  readonly clock: Clock
  /** One line for its log. */
  readonly say: (line: string) => void
}

export interface StandIn {
  readonly port: number
  close(): Promise<void>
}

const host = '127.0.0.1'
const signInMsMax = 20_000
const connectionsMax = 256
const attemptsMax = 6

export async function startStandIn(options: StandInOptions): Promise<StandIn> {
  const { clock } = options
  const authorities = options.authorities.map((line) => parseSshPublicKeyLine(line).blob)
  const files = createFiles(clock)
  const startedMs = clock.monotonicMs()
  const clients = new Set<Connection>()
  const serve = (client: Connection, remoteAddress: string): void => {
    clients.add(client)
    let certificate: SshCertificate | undefined
    let account = ''
    let attempts = 0
    const late = clock.startTimer(signInMsMax, () => client.end())
    client.on('error', (error) => options.say(`a connection: ${error.message}`))
    client.on('close', () => {
      late.cancel()
      clients.delete(client)
    })
    client.on('authentication', (context) => {
      try {
        const shown = verifySignIn(context, { ...options, authorities, remoteAddress })
        // A question whether it would be taken is answered, and proves nothing yet.
        if (isProven(context, shown)) {
          certificate = shown
          account = context.username
          options.say(`${account}: signed in with ${shown.keyId}`)
        }
        context.accept()
      } catch (error) {
        if (context.method !== 'none') options.say(`refused: ${(error as Error).message}`)
        context.reject(['publickey'])
        if (++attempts >= attemptsMax) client.end()
      }
    })
    client.on('ready', () => {
      late.cancel()
      const extensions = certificate?.extensions ?? new Map<string, Buffer>()
      const shell = { account, files, clock, startedMs }
      client.on('session', (accept) => {
        serveSession(accept(), shell, extensions.has('permit-pty'))
      })
      client.on('tcpip', (accept, reject, { destIP, destPort }) => {
        const isPage = ['localhost', host].includes(destIP) && destPort === options.pagePort
        if (!isPage || !extensions.has('permit-port-forwarding')) return reject()
        const channel = accept()
        const page = connect(destPort, host)
        page.on('error', () => channel.destroy())
        channel.on('error', () => page.destroy())
        channel.on('close', () => page.destroy())
        channel.pipe(page).pipe(channel)
      })
    })
  }
  const server = new ssh2.Server(
    { hostKeys: [options.hostKey], ident: 'SallyportDemoStandIn' },
    (client, { ip }) => serve(client, ip),
  )
  server.maxConnections = connectionsMax
  server.listen(options.port, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      files.close()
      for (const client of clients) client.end()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** @throws SallyportError for whoever may not in, and for everything but a certificate. */
function verifySignIn(
  context: AuthContext,
  options: {
    authorities: readonly Buffer[]
    accounts: readonly string[]
    remoteAddress: string
    clock: Clock
  },
): SshCertificate {
  const { username } = context
  if (context.method !== 'publickey') throw refused(`${context.method} is not taken here`)
  if (!options.accounts.includes(username)) throw refused('there is no such account')
  return verifySessionCertificate(context.key.data, {
    ...options,
    account: username,
    atMs: options.clock.wallMs(),
  })
}

/** False for what is only a question. @throws SallyportError for a signature that is not the key's. */
function isProven(context: AuthContext, { subject }: SshCertificate): boolean {
  if (context.method !== 'publickey' || context.signature === undefined) return false
  // The library leaves the signature of what it does not know, a certificate, in its wrapping.
  const given = unwrapSshSignature(context.signature)
  const signed = context.blob ?? Buffer.alloc(0)
  if (verifySshSignature({ publicKey: subject, ...given, signed })) return true
  throw refused('the signature is wrong')
}

function refused(why: string): SallyportError {
  return new SallyportError('evidence-invalid', why)
}
