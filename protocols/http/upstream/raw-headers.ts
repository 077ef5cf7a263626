/** Header lists as they were on the wire: names and values in turn, repeated where they were repeated. */
import type { AppRequest, RawHeaders } from './app.ts'
import type { Field } from './credential.ts'
import { dashed } from '../wire/fields.ts'

/** What a library kept of an answer. Latin-1 (RFC 9110, 5.5), without the blanks around values. */
export function rawHeadersOf(kept: readonly (Buffer | string)[] | null | undefined): string[] {
  const headers: string[] = []
  if (kept === null || kept === undefined) return headers
  for (const part of kept) {
    headers.push((typeof part === 'string' ? part : part.toString('latin1')).trim())
  }
  return headers
}

/** The value of a field; undefined where it is missing, and lines of a list joined (RFC 9110, 5.2). */
export function fieldOf(headers: RawHeaders, name: string): string | undefined {
  let found: string | undefined
  for (let at = 0; at + 1 < headers.length; at += 2) {
    if (headers[at]!.toLowerCase() !== name) continue
    found = found === undefined ? headers[at + 1]! : `${found}, ${headers[at + 1]!}`
  }
  return found
}

/** Without some fields. Names are lower case. */
export function without(headers: RawHeaders, names: ReadonlySet<string>): string[] {
  const left: string[] = []
  for (let at = 0; at + 1 < headers.length; at += 2) {
    if (!names.has(headers[at]!.toLowerCase())) left.push(headers[at]!, headers[at + 1]!)
  }
  return left
}

/** What belongs to one connection (RFC 9110, 7.6.1), or frames a message: never handed on, whoever let it come here. */
const ours = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'],
  ...['host', 'content-length', 'expect'],
])

/** The fields of a request as the app gets them, but for `Host` and framing; names in lower case. */
export function fieldsForApp(
  { headers }: AppRequest,
  credential: Field | undefined,
  isAnswerRecorded: boolean,
): string[] {
  // In any spelling that a server could take for it: the client must not choose who the app thinks it is.
  const replaced = credential === undefined ? '' : dashed(credential[0])
  const fields: string[] = []
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at]!.toLowerCase()
    if (ours.has(name) || (replaced !== '' && dashed(name) === replaced)) continue
    // What is recorded is for people to read.
    if (isAnswerRecorded && name === 'accept-encoding') continue
    fields.push(name, headers[at + 1]!)
  }
  if (isAnswerRecorded) fields.push('accept-encoding', 'identity')
  if (credential !== undefined) fields.push(...credential)
  return fields
}
