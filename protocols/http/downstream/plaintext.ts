import type { Socket } from 'node:net'
import type { Host } from '../../engine.ts'
import { linger } from '../wire/linger.ts'
import { parseAuthority } from './authority.ts'

/** Enough for the head of a browser's first request; what is longer gets words, and no redirect. */
const headBytesMax = 16 * 1024

/**
 * Answers HTTP without TLS: a browser that opens a page is sent to https, everybody else is told. Nothing of such a request is
 * ever relayed, as it may have been read and changed on its way.
 */
export async function answerPlaintext(
  connection: Socket,
  first: Buffer,
  host: Host,
): Promise<void> {
  const head = first.subarray(0, headBytesMax).toString('latin1')
  const location = /^(?:GET|HEAD) (\/[!-~]*) HTTP\/1\.[01]\r\n/.exec(head)
  // At least one character: blanks alone could be parted in as many ways as the square of their number.
  const authority = parseAuthority(/\r\nHost:[ \t]*([!-~]+)[ \t]*\r\n/i.exec(head)?.[1] ?? '')
  const isOurs = authority?.name.endsWith(`.${host.domain}`) ?? false
  const isPage = location !== null && isOurs && /\r\nAccept:[^\r]*text\/html/i.test(head)
  const words = 'Sallyport: this port speaks HTTPS only. Use https:// with the same address.\r\n'
  // The port that the client named is the one that it came to: TLS is spoken on the same one.
  const port = authority?.port === undefined ? '' : `:${authority.port}`
  const start = isPage
    ? `HTTP/1.1 307 Temporary Redirect\r\nLocation: https://${authority!.name}${port}${location[1]}\r\n`
    : 'HTTP/1.1 400 Bad Request\r\n'
  const fields =
    'Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\n' +
    `Content-Length: ${words.length}\r\n\r\n`
  await new Promise<void>((resolve) => {
    connection.once('close', () => resolve())
    linger(connection, host, start + fields + words)
  })
}
