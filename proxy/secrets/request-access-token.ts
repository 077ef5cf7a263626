/** Trades a client's id and secret for an access token (RFC 6749, 4.4). */
import { request, type RequestOptions } from 'node:https'
import { rootCertificates } from 'node:tls'
import { z } from 'zod'
import type { Secret } from '../../protocols/kit/secret.ts'

export interface ClientCredentials {
  /** https alone. */
  readonly tokenUrl: string
  readonly scope?: string | undefined
  /** Authorities that count besides the system's, PEM. */
  readonly caPem?: string | undefined
}

export interface AccessToken {
  /** What goes behind `Authorization: Bearer`. */
  readonly token: string
  /** Seconds that it lives; undefined where the server does not say. */
  readonly lifeSeconds: number | undefined
}

const answerBytesMax = 64 * 1024

/** RFC 6749, 5.1. */
const answer = z.object({
  // Of the characters that a header takes as one token (RFC 6750, 2.1).
  access_token: z
    .string()
    .min(1)
    .max(16_384)
    .regex(/^[A-Za-z0-9._~+/-]+=*$/),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.coerce.number().nonnegative().optional(),
})

/** Rejects with what went wrong, in words without any secret. Redirects are not followed. */
export async function requestAccessToken(
  { tokenUrl, scope, caPem }: ClientCredentials,
  client: { readonly id: string; readonly secret: Secret<string> },
  signal: AbortSignal,
): Promise<AccessToken> {
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    ...(scope === undefined ? {} : { scope }),
  }).toString()
  const pair = `${formEncoded(client.id)}:${formEncoded(client.secret.reveal())}`
  const { status, text } = await post(tokenUrl, body, {
    headers: {
      accept: 'application/json',
      authorization: `Basic ${Buffer.from(pair).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': Buffer.byteLength(body),
    },
    ...(caPem === undefined ? {} : { ca: [...rootCertificates, caPem] }),
    signal,
  })
  if (status !== 200) throw new Error(`${tokenUrl} answered with status ${status}`)
  let parsed: z.infer<typeof answer>
  try {
    parsed = answer.parse(JSON.parse(text))
  } catch {
    // What it said may hold a token.
    throw new Error(`${tokenUrl} answered with something that is no bearer token`)
  }
  return { token: parsed.access_token, lifeSeconds: parsed.expires_in }
}

function post(
  url: string,
  body: string,
  options: RequestOptions,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      {
        ...options,
        method: 'POST',
        agent: false,
        // Said, because NODE_TLS_REJECT_UNAUTHORIZED=0 in somebody's environment would undo what is not said.
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
      },
      (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > answerBytesMax) outgoing.destroy(new Error(`${url} answers too much`))
          else chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        )
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

/** As RFC 6749, 2.3.1 and appendix B have it. */
function formEncoded(text: string): string {
  return new URLSearchParams({ '': text }).toString().slice(1)
}
