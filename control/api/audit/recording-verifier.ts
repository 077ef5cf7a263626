/** Verifies the recordings of one epoch: parts in order, in an open session, and an end whose digest is theirs. */
import { hash } from 'node:crypto'
import type { DamageKind } from './damage.ts'
import type { Entry } from './decode.ts'
import { recordingEnded } from './metas.ts'
import { decodePartMeta, emptyDigest, rollDigest } from './recording.ts'
import { bytesOfUuid } from './uuid.ts'

interface Open {
  parts: number
  frames: number
  bytes: number
  digest: Buffer
  /** Its beginning is not here: nothing more can be said of it. */
  partial: boolean
}

export type AddDamage = (kind: DamageKind, detail: string) => void

export class RecordingVerifier {
  /** By session, then by number; undefined once it has ended. */
  readonly #sessions = new Map<string, Map<number, Open | undefined>>()

  /** `partial`: entries are missing before this one. */
  entry(entry: Entry, partial: boolean, sessionOpen: boolean, add: AddDamage): void {
    const id = entry.sessionId
    const what = `recording ${entry.reference} of session ${id ?? 'none'}`
    if (id === undefined || (!sessionOpen && !partial)) {
      add('session-wrong', `${what}, which is not open`)
      return
    }
    const ofSession = this.#sessions.get(id) ?? new Map<number, Open | undefined>()
    this.#sessions.set(id, ofSession)
    if (!ofSession.has(entry.reference)) {
      const digest = emptyDigest(bytesOfUuid(id), entry.reference)
      ofSession.set(entry.reference, { parts: 0, frames: 0, bytes: 0, digest, partial })
    }
    const open = ofSession.get(entry.reference)
    if (open === undefined) add('recording-wrong', `${what} goes on after its end`)
    else if (entry.type === 'recording') this.#part(entry, open, partial, what, add)
    else {
      this.#end(entry, open, partial, what, add)
      ofSession.set(entry.reference, undefined)
    }
  }

  #part(entry: Entry, open: Open, partial: boolean, what: string, add: AddDamage): void {
    let meta
    try {
      meta = decodePartMeta(entry.meta)
    } catch (error) {
      add('unreadable', error instanceof Error ? error.message : String(error))
      return
    }
    open.partial ||= partial
    if (meta.part !== open.parts && !open.partial) {
      add('recording-wrong', `${what}: part ${meta.part} stands where part ${open.parts} belongs`)
      // Said once.
      open.partial = true
    }
    open.parts = meta.part + 1
    open.frames += meta.frames
    open.bytes += meta.bytes
    open.digest = rollDigest(open.digest, entry.commitment ?? hash('sha256', '', 'buffer'))
  }

  #end(entry: Entry, open: Open, partial: boolean, what: string, add: AddDamage): void {
    let end
    try {
      end = recordingEnded.parse(JSON.parse(entry.meta.toString('utf8')))
    } catch {
      add('unreadable', `${what}: its end cannot be read`)
      return
    }
    if (open.partial || partial) return
    const said = `${end.parts} parts, ${end.frames} frames, ${end.bytes} bytes, digest ${end.digest}`
    const digest = open.digest.toString('hex')
    const is = `${open.parts} parts, ${open.frames} frames, ${open.bytes} bytes, digest ${digest}`
    if (said !== is) add('recording-wrong', `${what} ended with ${said}; here it has ${is}`)
  }

  /** The session is over. How many of its recordings have no end. */
  close(sessionId: string): number {
    const ofSession = this.#sessions.get(sessionId)
    this.#sessions.delete(sessionId)
    if (ofSession === undefined) return 0
    return [...ofSession.values()].filter((open) => open !== undefined).length
  }
}
