/** How an app believes who asks: the proxy's signature under the keys that control publishes. What an app of yours does with its own JWT library. */
import { get } from 'node:https'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import type { ReadAssertion } from './wiki.ts'

const bytesMax = 256 * 1024

export interface AssertionPlace {
  /** Of the app, as people reach it: `https://wiki.access.localhost`. */
  readonly audience: string
  readonly issuer: string
  /** Where control publishes the proxies' keys. */
  readonly jwksUrl: string
  readonly authorityPem: string
}

/** Resolves with the e-mail address of whom a signed identity names. Keys are fetched when one is unknown. */
export function createReadAssertion({
  audience,
  issuer,
  jwksUrl,
  authorityPem,
}: AssertionPlace): ReadAssertion {
  let keys: ReturnType<typeof createLocalJWKSet> | undefined
  const verify = async (assertion: string): Promise<string> => {
    keys ??= createLocalJWKSet(await fetchKeys(jwksUrl, authorityPem))
    const { payload } = await jwtVerify(assertion, keys, {
      ...{ audience, issuer },
      algorithms: ['ES256'],
      requiredClaims: ['exp', 'sub', 'email'],
    })
    return String(payload['email'])
  }
  return async (assertion) => {
    try {
      return await verify(assertion)
    } catch {
      keys = undefined
      return verify(assertion)
    }
  }
}

function fetchKeys(url: string, ca: string): Promise<JSONWebKeySet> {
  return new Promise((resolve, reject) => {
    const request = get(url, { ca, agent: false, timeout: 5_000 }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > bytesMax) request.destroy(new Error('too many keys'))
      })
      response.on('end', () => {
        try {
          resolve(JSON.parse(text) as JSONWebKeySet)
        } catch (error) {
          reject(error)
        }
      })
    })
    request.on('timeout', () => request.destroy(new Error(`${url} does not answer`)))
    request.on('error', reject)
  })
}
