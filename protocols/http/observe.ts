/** What the audit learns of a request: method, path and query without secrets, and how it went. */
import type { ActivitySource, BlobReference, FieldWriter, Outcome } from '../activity.ts'
import type { Upstream } from '../session.ts'
import { redactQuery } from './observe/redact-query.ts'
import type { Exchange } from './wire.ts'

export interface ObservedRequest {
  readonly method: string
  readonly target: string
  readonly upstream: Pick<Upstream, 'host' | 'port'>
  /** Parameters of the resource's own, besides those that look like secrets. */
  readonly redactedParameters: readonly string[]
}

/** One request on its way into the audit. */
export class RequestSource implements ActivitySource {
  readonly kind = 'request'
  /** Path and query as recorded. */
  readonly target: string
  readonly #method: string
  readonly #upstream: string
  readonly #isRedacted: boolean
  #blob: { readonly reference: BlobReference; readonly inline: number } | undefined

  constructor({ method, target, upstream, redactedParameters }: ObservedRequest) {
    this.target = redactQuery(target, redactedParameters)
    this.#isRedacted = this.target !== target
    this.#method = method
    this.#upstream = `${upstream.host}:${upstream.port}`
  }

  get text(): string {
    return `${this.#method} ${this.target}`
  }

  /** The text is in a blob; the record holds its beginning. */
  spilled(reference: BlobReference, inline: number): void {
    this.#blob = { reference, inline }
  }

  encode(fields: FieldWriter): void {
    const { text } = this
    const blob = this.#blob
    fields.utf8('text', blob === undefined ? text : text.slice(0, blob.inline))
    if (blob !== undefined) fields.blob('textBlob', blob.reference)
    fields.utf8('operation', this.#method)
    fields.utf8('path', pathOf(this.target, blob?.inline))
    fields.utf8('target', this.#upstream)
    if (this.#isRedacted) fields.empty('redacted')
  }
}

function pathOf(target: string, charactersMax: number | undefined): string {
  const mark = target.indexOf('?')
  return target.slice(0, Math.min(mark < 0 ? target.length : mark, charactersMax ?? Infinity))
}

/** The client is gone, by itself or because it took nothing. */
export function noteGone(outcome: Outcome, { givenUp }: Pick<Exchange, 'givenUp'>): void {
  outcome.status = 'cancelled'
  if (givenUp === undefined) return
  outcome.errorCode = givenUp.code
  outcome.errorText = givenUp.message
}
