/**
 * Whether a tunnel carries what its destination was declared for: looked at once, in the first bytes of either side. Anybody who owns both ends can
 * dress one protocol up as another; this is against sessions that would pass by the engine which records them.
 */
import { SallyportError } from '../../kit/errors.ts'
import type { TunnelProtocol } from '../../session.ts'
import type { ChannelObserver } from './channel-observer.ts'

export type Spoken = 'ssh' | 'postgres' | 'mysql' | 'http' | 'tls' | 'other'

/** Enough for the longest of the marks below. */
const headBytes = 32

/** `fromClient` is shown what the one says who dialled. Throws `protocol-violation` as soon as something else is spoken than `carries` says. `tcp` is none of those that have a name. */
export function observeTunnel(carries: TunnelProtocol, target: string): ChannelObserver {
  const client = new Head(spokenByClient)
  const upstream = new Head(spokenByServer)
  const check = (): void => {
    const [asked, answered] = [client.spoken, upstream.spoken]
    const wrong = [asked, answered].find((spoken) => isWrong(spoken, carries))
    // Which side speaks first, and which tells, is a matter of the protocol: nobody has to be both.
    const isUnknown = carries !== 'tcp' && asked === 'other' && answered === 'other'
    if (wrong === undefined && !isUnknown) return
    const what = wrong === undefined ? `something that is not ${carries}` : nameOf(wrong)
    throw new SallyportError('protocol-violation', `tunnel to ${target} carries ${what}`, {
      clientMessage: `the tunnel to ${target} is declared for ${carries}, and carries ${what}`,
      hint: 'Connect to that resource by its own name, so that it is recorded: sally resources',
    })
  }
  return {
    fromClient: (bytes) => {
      if (client.see(bytes)) check()
    },
    fromUpstream: (bytes) => {
      if (upstream.see(bytes)) check()
    },
    end() {},
  }
}

class Head {
  readonly #decide: (head: Buffer) => Spoken | undefined
  #head = Buffer.alloc(0)
  /** Undefined as long as it may be several. */
  spoken: Spoken | undefined

  constructor(decide: (head: Buffer) => Spoken | undefined) {
    this.#decide = decide
  }

  /** Whether something has become clear by these bytes. */
  see(bytes: Buffer): boolean {
    if (this.spoken !== undefined) return false
    this.#head = Buffer.concat([this.#head, bytes.subarray(0, headBytes - this.#head.length)])
    this.spoken = this.#decide(this.#head)
    if (this.spoken === undefined && this.#head.length >= headBytes) this.spoken = 'other'
    return this.spoken !== undefined
  }
}

/** TLS hides what is in it: it may be where its protocol is often spoken over TLS from the first byte on. */
function isWrong(spoken: Spoken | undefined, carries: TunnelProtocol): boolean {
  if (spoken === undefined || spoken === 'other' || spoken === carries) return false
  return !(spoken === 'tls' && (carries === 'http' || carries === 'postgres'))
}

const methods = [
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'],
  ...['PRI', 'PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK', 'REPORT'],
].map((method) => `${method} `)

function spokenByClient(head: Buffer): Spoken | undefined {
  const text = head.toString('latin1')
  const mark = byMark(text, [
    ['SSH-', 'ssh'],
    ...methods.map((method): [string, Spoken] => [method, 'http']),
  ])
  if (mark !== 'other') return mark
  if (isTls(head)) return 'tls'
  if (isPostgres(head)) return 'postgres'
  return head.length < 8 ? undefined : 'other'
}

function spokenByServer(head: Buffer): Spoken | undefined {
  const mark = byMark(head.toString('latin1'), [
    ['SSH-', 'ssh'],
    ['HTTP/', 'http'],
  ])
  if (mark !== 'other') return mark
  if (isTls(head)) return 'tls'
  if (isMysql(head)) return 'mysql'
  return head.length < 6 ? undefined : 'other'
}

/** Undefined while the text may still become one of the marks. */
function byMark(text: string, marks: readonly [string, Spoken][]): Spoken | undefined {
  for (const [mark, spoken] of marks) if (text.startsWith(mark)) return spoken
  return marks.some(([mark]) => mark.startsWith(text)) ? undefined : 'other'
}

/** RFC 8446, 5.1: a record of handshake or alert, version 3.x. */
function isTls(head: Buffer): boolean {
  return (head[0] === 0x16 || head[0] === 0x15) && head[1] === 3 && (head[2] ?? 5) <= 4
}

/** StartupMessage of protocol 3, SSLRequest, GSSENCRequest, CancelRequest. */
function isPostgres(head: Buffer): boolean {
  if (head.length < 8) return false
  const length = head.readUInt32BE(0)
  const code = head.readUInt32BE(4)
  const isStart = code >>> 16 === 3 || (code >>> 16 === 1234 && (code & 0xffff) >= 5678)
  return isStart && length >= 8 && length <= 65_536
}

/** The server's greeting, protocol version 10: packet 0, and a version as text. */
function isMysql(head: Buffer): boolean {
  if (head.length < 6) return false
  const length = head.readUIntLE(0, 3)
  const isGreeting = head[3] === 0 && head[4] === 10 && head[5]! >= 0x30 && head[5]! <= 0x39
  const isError = head[3] === 0 && head[4] === 0xff
  return (isGreeting || isError) && length > 5 && length < 1_024
}

function nameOf(spoken: Spoken): string {
  return {
    ssh: 'SSH',
    postgres: 'PostgreSQL',
    mysql: 'MySQL',
    http: 'HTTP',
    tls: 'TLS',
    other: '',
  }[spoken]
}
