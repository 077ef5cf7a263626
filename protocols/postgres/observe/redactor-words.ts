/** Words of SQL as far as the redactor cares for them, followed byte by byte. */

/** Follows words and knows those that announce a credential. */
export class Words {
  #password = 0
  #passwd = 0
  #address = 0
  #alter = 0
  #create = 0
  /** Bytes of the current word. */
  length = 0
  /** Its first byte, in lower case. */
  first = 0

  add(byte: number): void {
    const folded = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    this.#password = advance('password', this.#password, folded)
    this.#passwd = advance('passwd', this.#passwd, folded)
    this.#address = advance('postgresql', this.#address, folded)
    this.#alter = advance('alter', this.#alter, folded)
    this.#create = advance('create', this.#create, folded)
    if (this.length === 0) this.first = folded
    this.length++
  }

  /** The word ends in `password` or `passwd`. */
  get announcesPassword(): boolean {
    return this.#password === 8 || this.#passwd === 6
  }

  /** The word ends in `postgres` or `postgresql`. */
  get announcesAddress(): boolean {
    return this.#address === 8 || this.#address === 10
  }

  /** The word is ALTER or CREATE. */
  get startsCommand(): boolean {
    return (this.#alter === 5 && this.length === 5) || (this.#create === 6 && this.length === 6)
  }

  reset(): void {
    this.#password = this.#passwd = this.#address = this.#alter = this.#create = 0
    this.length = 0
  }
}

/** How much of `word` ends here. Only its first letter can start it again. */
function advance(word: string, matched: number, byte: number): number {
  if (matched < word.length && word.charCodeAt(matched) === byte) return matched + 1
  return word.charCodeAt(0) === byte ? 1 : 0
}

/** Letters, digits, underscore and whatever is not ASCII. */
export function isWord(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x5f ||
    byte >= 0x80
  )
}

export function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)
}
