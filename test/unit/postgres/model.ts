/**
 * A small server that keeps PostgreSQL's rules about names, portals, transactions, errors and copies, so that what the
 * observer says can be held against what the server did.
 *
 * Texts: `ok`, `rows N`, `bad` (fails to parse), `unbindable`, `fails` (when executed), `copyin`, `copyout`,
 * `begin`, `commit`, `deallocate all`, `deallocate X`, `prepare X <text>`, `empty`; what follows a `#` makes them unique.
 */
import { server } from './messages.ts'

/** What the server did with one Query or Execute, in the order they came. */
export interface Truth {
  /** Undefined for one that was skipped or whose portal does not exist. */
  text: string | undefined
  parameters: string[]
  status: 'ok' | 'error' | 'skipped'
  tag: string
  error: string
}

interface ServerPortal {
  text: string
  parameters: string[]
  fetched: number
}

export class ModelServer {
  readonly truths: Truth[] = []
  /** Errors that belong to a statement whose text went by; each must be on record once. */
  readonly errors: string[] = []
  readonly #statements = new Map<string, string>()
  readonly #portals = new Map<string, ServerPortal>()
  readonly #answers: Buffer[] = []
  #input = Buffer.alloc(0)
  #skipping = false
  #inTransaction = false
  #failed = false
  #copying: { text: string; extended: boolean } | undefined
  #errorNumber = 0

  /** Takes bytes as they went upstream; returns the answers. */
  push(bytes: Buffer): Buffer[] {
    this.#input = Buffer.concat([this.#input, bytes])
    while (this.#input.length >= 5) {
      const length = this.#input.readUInt32BE(1) + 1
      if (this.#input.length < length) break
      const body = this.#input.subarray(5, length)
      const letter = String.fromCharCode(this.#input[0]!)
      this.#input = this.#input.subarray(length)
      this.#message(letter, body)
    }
    return this.#answers.splice(0)
  }

  #message(letter: string, body: Buffer): void {
    if (this.#copying !== undefined) {
      this.#copy(letter)
      return
    }
    if (letter === 'S') {
      this.#skipping = false
      this.#endImplicit()
      this.#ready()
      return
    }
    const strings = body.toString('latin1').split('\0')
    if (this.#skipping) {
      if (letter === 'Q' || letter === 'E') this.#skip()
      return
    }
    switch (letter) {
      case 'Q':
        this.#query(strings[0]!)
        break
      case 'P':
        this.#parse(strings[0]!, strings[1]!)
        break
      case 'B':
        this.#bind(strings[0]!, strings[1]!, body)
        break
      case 'E':
        this.#execute(strings[0]!, body.readInt32BE(strings[0]!.length + 1))
        break
      case 'D':
        this.#describe(letter, strings[0]!)
        break
      case 'C':
        if (strings[0]![0] === 'S') this.#statements.delete(strings[0]!.slice(1))
        else this.#portals.delete(strings[0]!.slice(1))
        this.#answers.push(server.closed())
        break
      default:
        break
    }
  }

  #skip(): void {
    this.truths.push({ text: undefined, parameters: [], status: 'skipped', tag: '', error: '' })
  }

  #ready(): void {
    this.#answers.push(server.ready(this.#failed ? 'E' : this.#inTransaction ? 'T' : 'I'))
  }

  #endImplicit(): void {
    if (!this.#inTransaction) this.#portals.clear()
  }

  /** Answers with an error; returns its text. */
  #error(known: boolean): string {
    const text = `error ${++this.#errorNumber}`
    if (known) this.errors.push(text)
    this.#answers.push(server.error('XX001', text))
    this.#portals.clear()
    if (this.#inTransaction) this.#failed = true
    return text
  }

  #extendedError(known: boolean): string {
    this.#skipping = true
    return this.#error(known)
  }

  /** PREPARE replaces nothing (SQLSTATE 42P05). */
  #isTaken(word: string): boolean {
    const [verb, name] = word.split(' ')
    return verb === 'prepare' && this.#statements.has(name!)
  }

  #refusesAll(text: string): boolean {
    return this.#failed && !text.startsWith('commit')
  }

  #query(text: string): void {
    this.#statements.delete('')
    const truth: Truth = { text, parameters: [], status: 'ok', tag: '', error: '' }
    this.truths.push(truth)
    const word = text.split('#')[0]!.trim()
    const fails = ['bad', 'fails', 'unbindable'].includes(word) || this.#isTaken(word)
    if (fails || this.#refusesAll(word)) {
      truth.status = 'error'
      truth.error = this.#error(true)
    } else if (word === 'copyin') {
      this.#answers.push(server.copyIn())
      this.#copying = { text, extended: false }
      return
    } else {
      truth.tag = this.#run(word)
    }
    this.#endImplicit()
    this.#ready()
  }

  /** Does what the text says; returns its tag and has answered with it. */
  #run(word: string): string {
    const [verb, name, ...rest] = word.split(' ')
    let tag = verb!.toUpperCase()
    if (verb === 'rows') {
      for (let row = 0; row < Number(name); row++) this.#answers.push(server.row('x'))
      tag = `SELECT ${name}`
    } else if (verb === 'begin') {
      this.#inTransaction = true
    } else if (verb === 'commit') {
      this.#inTransaction = this.#failed = false
      this.#portals.clear()
    } else if (word === 'deallocate all') {
      this.#statements.clear()
      tag = 'DEALLOCATE ALL'
    } else if (verb === 'deallocate') {
      this.#statements.delete(name!)
    } else if (verb === 'prepare') {
      this.#statements.set(name!, rest.join(' '))
    } else if (verb === 'copyout') {
      this.#answers.push(server.copyOut(), server.copyData('abc'), server.copyDone())
      tag = 'COPY 1'
    } else if (verb === 'empty') {
      this.#answers.push(server.empty())
      return ''
    }
    this.#answers.push(server.complete(tag))
    return tag
  }

  #parse(name: string, text: string): void {
    const word = text.split('#')[0]!.trim()
    if (name === '') this.#statements.delete('')
    if (word === 'bad' || this.#refusesAll(word) || this.#statements.has(name)) {
      this.#extendedError(true)
      return
    }
    this.#statements.set(name, text)
    this.#answers.push(server.parsed())
  }

  #bind(portal: string, statement: string, body: Buffer): void {
    const text = this.#statements.get(statement)
    if (
      text === undefined ||
      text.startsWith('unbindable') ||
      this.#refusesAll(text) ||
      (portal !== '' && this.#portals.has(portal))
    ) {
      this.#extendedError(text !== undefined)
      return
    }
    let at = portal.length + statement.length + 2
    at += 2 + 2 * body.readUInt16BE(at)
    const parameters: string[] = []
    const count = body.readUInt16BE(at)
    at += 2
    for (let index = 0; index < count; index++) {
      const length = body.readInt32BE(at)
      parameters.push(body.toString('latin1', at + 4, at + 4 + length))
      at += 4 + length
    }
    this.#portals.set(portal, { text, parameters, fetched: 0 })
    this.#answers.push(server.bound())
  }

  #describe(_letter: string, what: string): void {
    const name = what.slice(1)
    const exists = what[0] === 'S' ? this.#statements.has(name) : this.#portals.has(name)
    if (!exists || this.#failed) {
      this.#extendedError(false)
      return
    }
    if (what[0] === 'S') this.#answers.push(server.types(25))
    this.#answers.push(name === 'a' ? server.noData() : server.rowDescription())
  }

  #execute(name: string, rowsMax: number): void {
    const portal = this.#portals.get(name)
    const truth: Truth = {
      text: portal?.text,
      parameters: portal?.parameters ?? [],
      status: 'ok',
      tag: '',
      error: '',
    }
    this.truths.push(truth)
    const word = portal?.text.split('#')[0]!.trim() ?? 'fails'
    if (word === 'fails' || this.#isTaken(word) || this.#refusesAll(word)) {
      truth.status = 'error'
      truth.error = this.#extendedError(true)
    } else if (word === 'copyin') {
      this.#answers.push(server.copyIn())
      this.#copying = { text: portal!.text, extended: true }
    } else if (word.startsWith('rows ') && rowsMax > 0) {
      const left = Number(word.split(' ')[1]) - portal!.fetched
      const rows = Math.min(left, rowsMax)
      portal!.fetched += rows
      for (let row = 0; row < rows; row++) this.#answers.push(server.row('x'))
      truth.tag = rows === rowsMax ? '' : `SELECT ${rows}`
      this.#answers.push(truth.tag === '' ? server.suspended() : server.complete(truth.tag))
    } else {
      truth.tag = this.#run(word)
    }
  }

  #copy(letter: string): void {
    const copying = this.#copying!
    const truth = this.truths.findLast(({ text }) => text === copying.text)!
    if (letter === 'd' || letter === 'H' || letter === 'S') return
    this.#copying = undefined
    if (letter === 'c') {
      truth.tag = 'COPY 1'
      this.#answers.push(server.complete('COPY 1'))
    } else {
      if (letter === 'Q' || letter === 'E') this.#skip()
      truth.status = 'error'
      this.#skipping = copying.extended
      truth.error = this.#error(true)
    }
    if (copying.extended) return
    this.#endImplicit()
    this.#ready()
  }
}
