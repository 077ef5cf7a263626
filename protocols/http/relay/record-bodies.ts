/** The beginnings of a request's body and of its answer's, as the resource wants them recorded. */
import type { ActivityId, Recording, Session } from '../../session.ts'

export interface BodyRecording {
  /** A chunk on its way to the app; to be called before it is forwarded. False: stop reading the client until `onDrain`. */
  request(chunk: Buffer): boolean
  /** A chunk of the answer. False: stop reading the app until `onDrain`. */
  answer(chunk: Buffer): boolean
  /** A remark at this moment. */
  mark(label: string): void
  end(): void
}

/**
 * Records into one stream: what the client sent and what the app answered, each up to its limit. Nothing is begun before there is a body.
 * Undefined where the resource records none. Throws `audit-unwritable` or `audit-full` at the first chunk.
 */
export function recordBodies(
  session: Session,
  activity: ActivityId,
  title: string,
): BodyRecording | undefined {
  const { requestBodyBytes = 0, responseBodyBytes = 0 } = session.http?.recorded ?? {}
  if (requestBodyBytes === 0 && responseBodyBytes === 0) return undefined
  let recording: Recording | undefined
  let isOver = false

  const side = (from: 'client' | 'upstream', bytesMax: number, name: string) => {
    let leftBytes = bytesMax
    let isWhole = true
    return (chunk: Buffer): boolean => {
      if (bytesMax === 0 || !isWhole || isOver || chunk.length === 0) return true
      recording ??= session.record('stream', { activity, title })
      const part = chunk.subarray(0, leftBytes)
      leftBytes -= part.length
      const mayGoOn = part.length === 0 || recording.write(from, part)
      if (part.length < chunk.length) {
        isWhole = false
        recording.mark(`of the ${name} only the first ${bytesMax} bytes are recorded`)
      }
      return mayGoOn
    }
  }

  return {
    request: side('client', requestBodyBytes, 'request'),
    answer: side('upstream', responseBodyBytes, 'answer'),
    mark: (label) => recording?.mark(label),
    end() {
      isOver = true
      recording?.end()
    },
  }
}
