import { Agent, request } from 'node:https'
import type { CustomFetch } from 'openid-client'
import { collectAnswer } from '../api/collect-answer.ts'
import { signInUnavailable } from './login-refusals.ts'

/** Discovery documents and key sets have some kilobytes. */
const answerBytesMax = 512 * 1024
const bodiless = new Set([204, 205, 304])

/**
 * How control asks the provider: HTTPS to what `authorityPem` vouches for (undefined: Node's authorities), no redirects, answers
 * of bounded length, within the signal that the library gives.
 */
export function createIssuerFetch(authorityPem: string | undefined): CustomFetch {
  const agent = new Agent({
    maxSockets: 16,
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
    rejectUnauthorized: true,
    ...(authorityPem === undefined ? {} : { ca: authorityPem }),
  })
  return async (address, { method, headers, body, signal }) => {
    const url = new URL(address)
    try {
      const outgoing = request(url, {
        agent,
        method,
        headers,
        ...(signal === undefined ? {} : { signal }),
      })
      const answer = collectAnswer(outgoing, answerBytesMax)
      outgoing.end(body instanceof URLSearchParams ? body.toString() : (body ?? undefined))
      const { response, body: answered } = await answer
      const status = response.statusCode ?? 0
      return new Response(bodiless.has(status) ? null : new Uint8Array(answered), {
        status,
        headers: Object.entries(response.headers).flatMap(([name, value]) =>
          [value ?? []].flat().map((each): [string, string] => [name, each]),
        ),
      })
    } catch (error) {
      if (signal?.aborted === true) throw new DOMException('no answer in time', 'TimeoutError')
      throw signInUnavailable(
        `the identity provider at ${url.host} cannot be reached`,
        'try again in a minute: sally login; if it lasts, tell the operator of control',
        error,
      )
    }
  }
}
