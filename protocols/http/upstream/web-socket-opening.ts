/** Our half of the opening of a WebSocket at an app (RFC 6455, 4.1). */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { AppRequest, AppUpgrade, RawHeaders } from './app.ts'
import { badAnswer } from './failures.ts'
import type { UpgradeAnswer } from './http1.ts'
import { webSocketAccept } from '../wire/web-socket-accept.ts'
import { fieldOf, without } from './raw-headers.ts'

const extensionsField = 'sec-websocket-extensions'
const protocolField = 'sec-websocket-protocol'
/** Fields of one handshake, not of what is agreed in it. */
const ofHandshake = new Set([
  ...['sec-websocket-key', 'sec-websocket-version', 'sec-websocket-accept'],
  ...['connection', 'upgrade'],
])
const negotiable = new Set([...ofHandshake, extensionsField])

export interface Opening {
  /** The request with a key of ours, and only the extensions that may be. */
  readonly request: AppRequest
  /** Checks what the app agrees to before it is passed on. */
  readonly answer: UpgradeAnswer
}

/** Where text is recorded nothing may be compressed; and frames of other extensions nobody here could count. */
export function openWebSocket(
  request: AppRequest,
  answer: AppUpgrade,
  isTextRecorded: boolean,
): Opening {
  const key = randomBytes(16).toString('base64')
  const offered = isTextRecorded ? '' : deflateOffers(fieldOf(request.headers, extensionsField))
  const headers = [
    ...without(request.headers, negotiable),
    ...['sec-websocket-key', key, 'sec-websocket-version', '13'],
    ...(offered === '' ? [] : [extensionsField, offered]),
  ]
  const protocols = listOf(fieldOf(request.headers, protocolField))
  return {
    request: { ...request, headers, body: undefined },
    answer: {
      ...answer,
      informational: (...given) => answer.informational?.(...given),
      head: (...given) => answer.head(...given),
      data: (chunk) => answer.data(chunk),
      end: (trailers) => answer.end(trailers),
      failed: (error) => answer.failed(error),
      upgraded(agreed, stream) {
        const why = disagreement(agreed, key, offered, protocols)
        if (why === undefined) {
          answer.switched(without(agreed, ofHandshake), stream, Buffer.alloc(0))
          return
        }
        stream.destroy()
        answer.failed(badAnswer(`not a WebSocket: ${why}`))
      },
    },
  }
}

function deflateOffers(offers: string | undefined): string {
  return listOf(offers).filter(isDeflate).join(', ')
}

function isDeflate(offer: string): boolean {
  return /^permessage-deflate\s*(?:;|$)/i.test(offer)
}

function listOf(field: string | undefined): string[] {
  return (field ?? '').split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()]))
}

/** RFC 6455, 4.1, from "Once the client's opening handshake has been sent". */
function disagreement(
  headers: RawHeaders,
  key: string,
  offered: string,
  protocols: readonly string[],
): string | undefined {
  if (fieldOf(headers, 'upgrade')?.toLowerCase() !== 'websocket') return 'another protocol'
  const connection = listOf(fieldOf(headers, 'connection')?.toLowerCase())
  if (!connection.includes('upgrade')) return 'no `Connection: Upgrade`'
  const accept = Buffer.from(fieldOf(headers, 'sec-websocket-accept') ?? '')
  const wanted = Buffer.from(webSocketAccept(key))
  if (accept.length !== wanted.length || !timingSafeEqual(accept, wanted)) return 'a wrong accept'
  const extensions = listOf(fieldOf(headers, extensionsField))
  if (extensions.length > (offered === '' ? 0 : 1) || !extensions.every(isDeflate)) {
    return 'extensions that nobody offered'
  }
  const protocol = fieldOf(headers, protocolField)
  if (protocol !== undefined && !protocols.includes(protocol)) return 'a protocol nobody offered'
  return undefined
}
