import { Agent, request } from 'node:https'
import type { CustomFetch } from 'openid-client'
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
  return (address, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const url = new URL(address)
      const fail = (error: Error): void =>
        reject(
          signal?.aborted === true
            ? new DOMException('no answer in time', 'TimeoutError')
            : signInUnavailable(
                `the identity provider at ${url.host} cannot be reached`,
                'try again in a minute: sally login; if it lasts, tell the operator of control',
                error,
              ),
        )
      const outgoing = request(url, {
        agent,
        method,
        headers,
        ...(signal === undefined ? {} : { signal }),
      })
      outgoing.on('error', fail)
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > answerBytesMax) outgoing.destroy(new Error('the answer is too long'))
          else chunks.push(chunk)
        })
        response.on('error', fail)
        response.on('end', () => {
          const status = response.statusCode ?? 0
          try {
            resolve(
              new Response(bodiless.has(status) ? null : Buffer.concat(chunks), {
                status,
                headers: Object.entries(response.headers).flatMap(([name, value]) =>
                  [value ?? []].flat().map((each): [string, string] => [name, each]),
                ),
              }),
            )
          } catch (error) {
            fail(error as Error)
          }
        })
      })
      outgoing.end(body instanceof URLSearchParams ? body.toString() : (body ?? undefined))
    })
}
