import { inspect } from 'node:util'

const hidden = '[secret]'

/**
 * The only carrier of a credential. Printing, inspecting, spreading or serialising one shows nothing;
 * `reveal` is the one loud way in, and `drop` forgets the value.
 */
export class Secret<T> {
  #value: T | undefined

  constructor(value: T) {
    this.#value = value
  }

  /** The value. Throws once the secret was dropped. */
  reveal(): T {
    if (this.#value === undefined) throw new Error('secret was dropped')
    return this.#value
  }

  /** Forgets the value; bytes are overwritten first. */
  drop(): void {
    if (this.#value instanceof Uint8Array) this.#value.fill(0)
    this.#value = undefined
  }

  toString(): string {
    return hidden
  }

  toJSON(): string {
    return hidden
  }

  [inspect.custom](): string {
    return hidden
  }
}
