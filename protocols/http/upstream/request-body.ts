/** A request's body between `session.forward`, which writes it, and the connection, which reads it. */
import { Readable, Writable } from 'node:stream'

export interface RequestBody {
  /** For `session.forward`. Swallows what comes when nobody reads any more, so that a client can always finish sending. */
  readonly target: Writable
  /** For the connection to the app. Destroying it is giving up. */
  readonly source: Readable
}

/** Holds as much as a stream does (`highWaterMark`), then its target is full. */
export function createRequestBody(): RequestBody {
  let taken: (() => void) | undefined
  const take = (): void => {
    const done = taken
    taken = undefined
    done?.()
  }
  const source = new Readable({
    read: take,
    destroy(error, done) {
      take()
      done(error)
    },
  })
  source.on('error', () => {})
  const target = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (source.destroyed || source.push(chunk)) done()
      else taken = done
    },
    final(done) {
      if (!source.destroyed) source.push(null)
      done()
    },
  })
  return { target, source }
}

/** Where the body of a request goes that has none. */
export function noBody(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() })
}
