/** Fields of a head, as flat lists of names and values (RFC 9110, chapters 5 and 7.6.1). */
import { remember } from '../../kit/remember.ts'
import type { RawHeaders } from '../upstream/app.ts'

const token = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
// oxlint-disable-next-line no-control-regex -- these are what may not be in it
const badValue = /[\u0000-\u0008\u000a-\u001f\u007f\u0100-\uffff]/

interface FieldName {
  readonly lower: string
  readonly isProper: boolean
  readonly dashed: string
}

/** Every request and answer brings the same few names. */
const fieldName = remember((name): FieldName => {
  const lower = name.toLowerCase()
  return { lower, isProper: token.test(name), dashed: dashedOf(lower) }
}, 1_024)

/** A name of RFC 9110, 5.1, in lower case. */
export function isFieldName(name: string): boolean {
  return fieldName(name).isProper
}

/** In lower case; the same string for the same name. */
function lowerName(name: string): string {
  return fieldName(name).lower
}

/** A value of RFC 9110, 5.5: no control character, no line end. */
export function isFieldValue(value: string): boolean {
  return !badValue.test(value)
}

/** How servers read a name that make one variable of `x-name` and `x_name` (RFC 3875, 4.1.18). Given in lower case. */
export function dashed(name: string): string {
  return fieldName(name).dashed
}

function dashedOf(name: string): string {
  return /[^a-z0-9-]/.test(name) ? name.replaceAll(/[^a-z0-9]/g, '-') : name
}

/** Values of a field, in order. `name` in lower case, as all names here. */
export function fieldValues(headers: RawHeaders, name: string): string[] {
  const found: string[] = []
  for (let at = 0; at < headers.length; at += 2) {
    if (headers[at] === name) found.push(headers[at + 1]!)
  }
  return found
}

/** The first value of a field. */
export function fieldValue(headers: RawHeaders, name: string): string | undefined {
  for (let at = 0; at < headers.length; at += 2) if (headers[at] === name) return headers[at + 1]
  return undefined
}

/** The elements of a comma-separated field, in lower case. Each once: as many as fit into a head are looked at for each of its fields. */
export function fieldTokens(headers: RawHeaders, name: string): ReadonlySet<string> {
  const first = fieldValue(headers, name)
  if (first === undefined) return noTokens
  return new Set(
    fieldValues(headers, name)
      .join(',')
      .toLowerCase()
      .split(',')
      .map((each) => each.trim())
      .filter((each) => each !== ''),
  )
}

const noTokens: ReadonlySet<string> = new Set()

/** Those of one hop (RFC 9110, 7.6.1), and what says where a body ends (RFC 9112, 6). */
const ofOneHop = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding'],
  ...['upgrade', 'http2-settings', 'proxy-authenticate', 'proxy-authorization'],
  ...['proxy-authentication-info', 'alt-svc', 'alt-used'],
])

/** Whether a field concerns one hop only; `named` are the options of its `Connection`. */
export function isOfOneHop(name: string, named: ReadonlySet<string>): boolean {
  return ofOneHop.has(name) || named.has(name)
}

/** Names in lower case. */
export function lowerNames(raw: readonly string[]): string[] {
  const headers = raw.slice()
  for (let at = 0; at < headers.length; at += 2) headers[at] = lowerName(headers[at]!)
  return headers
}
