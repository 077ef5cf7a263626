import type { ClientRequest, IncomingMessage } from 'node:http'

export interface CollectedAnswer {
  readonly response: IncomingMessage
  readonly body: Buffer
}

/**
 * The answer to a request, once it has come whole. Rejects with what went wrong on the way, and destroys the request of an answer that is
 * longer than `bytesMax`. The caller sends the request.
 */
export function collectAnswer(outgoing: ClientRequest, bytesMax: number): Promise<CollectedAnswer> {
  return new Promise((resolve, reject) => {
    outgoing.on('error', reject)
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > bytesMax) outgoing.destroy(new Error('the answer is too long'))
        else chunks.push(chunk)
      })
      response.on('error', reject)
      response.on('end', () => resolve({ response, body: Buffer.concat(chunks) }))
    })
  })
}
