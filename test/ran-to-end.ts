import type { ChildProcessWithoutNullStreams } from 'node:child_process'

export interface Ran {
  readonly code: number | null
  readonly out: Buffer
  readonly err: string
}

/** What a program printed, once it has ended. Rejects if it cannot be started. */
export function ranToEnd(client: ChildProcessWithoutNullStreams): Promise<Ran> {
  const out: Buffer[] = []
  let err = ''
  client.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  client.stderr.on('data', (chunk: Buffer) => (err += chunk.toString('utf8')))
  return new Promise((resolve, reject) => {
    client.once('error', reject)
    client.once('close', (code) => resolve({ code, out: Buffer.concat(out), err }))
  })
}
