/** The resource's secret as the app wants to see it, borrowed for one request and forgotten with it. */
import type { Credential, HttpCredential, Session } from '../../session.ts'
import { uselessSecret } from './failures.ts'

/** A field of a request (RFC 9110, 6.3). */
export type Field = readonly [name: string, value: string]

/**
 * The field that carries the credential; undefined where none does. Rejects with `secret-unavailable` or `secret-not-bound`. For
 * OAuth what is borrowed is the access token already: the proxy fetches it where its policy lets it.
 */
export async function credentialField(session: Session): Promise<Field | undefined> {
  const credential = session.http?.credential ?? { kind: 'none' }
  if (!isShownPerRequest(credential)) return undefined
  const borrowed = await session.borrow()
  try {
    return fieldOf(credential, borrowed)
  } finally {
    borrowed.secret.drop()
  }
}

type Shown = Exclude<HttpCredential, { kind: 'none' | 'client-certificate' }>

/** Whether each request carries something, rather than the connection or nothing. */
export function isShownPerRequest(credential: HttpCredential): credential is Shown {
  return credential.kind !== 'none' && credential.kind !== 'client-certificate'
}

function fieldOf(credential: Shown, { account, secret }: Credential): Field {
  // A secret that was piped into a file ends with a line end that is not part of it.
  const value = secret.reveal().replace(/\r?\n$/, '')
  switch (credential.kind) {
    case 'bearer':
    case 'oauth':
      return ['authorization', `Bearer ${sendable(value)}`]
    case 'basic': {
      // The user-id ends at the first colon (RFC 7617, 2).
      if (account.includes(':')) throw uselessSecret('an account with a colon cannot be sent')
      return ['authorization', `Basic ${Buffer.from(`${account}:${value}`).toString('base64')}`]
    }
    case 'header':
      return [credential.name.toLowerCase(), sendable(value)]
  }
}

/** RFC 9110, 5.5, without the bytes above ASCII that nobody reads alike. */
function sendable(value: string): string {
  if (/^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value)) return value
  throw uselessSecret('it has characters that no header field may hold')
}
