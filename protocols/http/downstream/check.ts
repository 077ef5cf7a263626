import type { Exchange } from '../wire.ts'
import { fieldValues, isFieldName, isFieldValue } from '../wire/fields.ts'
import { HttpRefusal, malformed } from '../wire/refusal.ts'
import { requestFieldsMax } from '../wire/request-head.ts'
import { parseAuthority } from './authority.ts'

/** What a request asks of whom, once nothing about it is in doubt. */
export interface Asked {
  /** The resource's name as the client has it: what stands before the domain. */
  readonly resource: string
  /** `Host` as it was sent, lower case. */
  readonly authority: string
  /** The name alone. */
  readonly name: string
  /** The port that the client knows us by. */
  readonly port: number
  /** Without the query. */
  readonly path: string
}

/** Path and query: secrets are looked for in all of it before it is recorded. */
const targetCharactersMax = 65_536
const methodPattern = /^[A-Z][A-Z-]{0,31}$/
/** Origin form (RFC 9112, 3.2.1): printable ASCII, and no fragment. */
const originForm = /^\/[!"$-~]*$/
const pathEncodingPattern = /%(?![0-9A-Fa-f]{2})|%00|\\/
/** RFC 9113, 8.2.2. */
const ofConnections = ['connection', 'proxy-connection', 'keep-alive', 'upgrade']

/**
 * Refuses what two readers could understand in two ways, whatever a parser let through (RFC 9112; RFC 9113, chapter 8), and what is for
 * another host than TLS was agreed with. Throws `HttpRefusal`.
 */
export function checkRequest(
  exchange: Exchange,
  serverName: string | undefined,
  domain: string,
): Asked {
  if (exchange.version === 'other') {
    throw new HttpRefusal(505, 'unsupported-feature', 'only HTTP/1.0, 1.1 and 2 are spoken here', {
      isLast: true,
    })
  }
  checkFields(exchange)
  checkFraming(exchange)
  if (!methodPattern.test(exchange.method)) throw malformed('the method is no method')
  if (exchange.method === 'CONNECT') {
    throw new HttpRefusal(405, 'unsupported-feature', 'there are no tunnels here', { isLast: true })
  }
  if (exchange.method === 'TRACE' || exchange.method === 'TRACK') {
    throw new HttpRefusal(405, 'unsupported-feature', 'TRACE is not answered here')
  }
  if (exchange.target.length > targetCharactersMax) {
    throw new HttpRefusal(414, 'frame-too-large', 'the path and its query are longer than 64 KiB')
  }
  if (!originForm.test(exchange.target)) {
    throw malformed(
      'the target of a request must be a path that begins with / and holds no fragment',
    )
  }
  const mark = exchange.target.indexOf('?')
  const path = mark < 0 ? exchange.target : exchange.target.slice(0, mark)
  if (pathEncodingPattern.test(path)) {
    throw malformed('the path holds a backslash, a zero byte or an escape that is none')
  }
  const expected = fieldValues(exchange.headers, 'expect')
  if (expected.some((each) => !/^(?:100-continue)?$/i.test(each.trim()))) {
    throw new HttpRefusal(417, 'unsupported-feature', 'nothing but 100-continue can be expected')
  }
  return { ...checkAuthority(exchange, serverName, domain), path }
}

function checkFields({ headers, version }: Exchange): void {
  if (headers.length / 2 > requestFieldsMax) {
    throw new HttpRefusal(431, 'frame-too-large', `more than ${requestFieldsMax} header fields`, {
      isLast: true,
    })
  }
  for (let at = 0; at < headers.length; at += 2) {
    if (!isFieldName(headers[at]!)) throw malformed('a header field has no proper name')
    if (!isFieldValue(headers[at + 1]!)) {
      throw malformed(`the field ${headers[at]} holds a control character`)
    }
    if (version === '2' && ofConnections.includes(headers[at]!)) {
      throw malformed(`HTTP/2 has no field ${headers[at]}`)
    }
  }
}

/** Where a body ends must be said once, and in one way (RFC 9112, 6.3). */
function checkFraming({ headers, version }: Exchange): void {
  const lengths = fieldValues(headers, 'content-length')
  const codings = fieldValues(headers, 'transfer-encoding')
  if (lengths.length > 1 || lengths.some((length) => !/^(?:0|[1-9]\d{0,14})$/.test(length))) {
    throw malformed('Content-Length must be one number')
  }
  if (codings.length === 0) return
  if (version !== '1.1') throw malformed('Transfer-Encoding belongs to HTTP/1.1')
  if (lengths.length > 0) throw malformed('Content-Length and Transfer-Encoding contradict')
  if (codings.length > 1 || codings[0]!.toLowerCase() !== 'chunked') {
    throw new HttpRefusal(
      501,
      'unsupported-feature',
      'no transfer coding but chunked is read here',
      {
        isLast: true,
      },
    )
  }
}

function checkAuthority(
  { headers, authority: pseudo, version }: Exchange,
  serverName: string | undefined,
  domain: string,
): Omit<Asked, 'path'> {
  const hosts = fieldValues(headers, 'host')
  if (hosts.length > 1) throw malformed('more than one Host')
  const text = (pseudo ?? hosts[0])?.toLowerCase()
  if (text === undefined) throw malformed('no Host')
  if (pseudo !== undefined && hosts.length > 0 && hosts[0]!.toLowerCase() !== text) {
    throw malformed('Host and :authority differ')
  }
  const authority = parseAuthority(text)
  if (authority === undefined) throw malformed('Host is no name')
  if (authority.name === domain && (serverName ?? domain) === domain) {
    throw new HttpRefusal(404, 'name-missing', 'each app has a name of its own, and this is none', {
      hint: `Open https://NAME.${domain}, with the name of the app.`,
    })
  }
  const isOurs = authority.name.endsWith(`.${domain}`)
  if (!isOurs || (serverName !== undefined && serverName !== authority.name)) {
    throw new HttpRefusal(
      421,
      'name-conflict',
      'this connection was opened for another host than the request is for',
      { hint: 'Open a connection of its own for each host name.', isLast: version !== '2' },
    )
  }
  const { name, port = 443 } = authority
  return { resource: name.slice(0, -domain.length - 1), authority: text, name, port }
}
