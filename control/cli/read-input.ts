import { SallyportError } from '../../protocols/kit/errors.ts'

/** Standard input to its end, as UTF-8. Rejects with `usage` if it is longer than `bytesMax`. */
export async function readInput(bytesMax: number): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    const piece = chunk as Buffer
    bytes += piece.length
    if (bytes > bytesMax) {
      throw new SallyportError('usage', 'standard input is too long', {
        clientMessage: `standard input is longer than ${bytesMax} bytes`,
      })
    }
    chunks.push(piece)
  }
  return Buffer.concat(chunks).toString('utf8')
}
