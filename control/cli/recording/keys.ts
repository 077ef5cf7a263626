/** Keys of whoever watches or replays. Nothing that is typed here goes to the session. */

/** Keys as words: a character, or `up`, `down`, `left`, `right`, `enter`, `escape`, `backspace`, `interrupt`. */
export type KeyListener = (key: string) => void

const sequences: Readonly<Record<string, string>> = { A: 'up', B: 'down', C: 'right', D: 'left' }
const named: Readonly<Record<string, string>> = {
  '\r': 'enter',
  '\n': 'enter',
  '\u007f': 'backspace',
  '\b': 'backspace',
  '\u0003': 'interrupt',
  '\u0004': 'interrupt',
  '\u001b': 'escape',
}

/** The keys in what a terminal sent. Arrows come in two forms (ECMA-48 and application mode); other sequences are none. */
export function keysOf(text: string): string[] {
  const keys: string[] = []
  // oxlint-disable-next-line no-control-regex
  const form = /\u001b[[O]([0-9;<=>?]*)([@-~])|[\s\S]/gu
  for (const [character, parameters, final] of text.matchAll(form)) {
    if (final === undefined) keys.push(named[character] ?? character)
    else if (parameters === '' && final in sequences) keys.push(sequences[final]!)
  }
  return keys
}

/** Reads keys until `close` is called; also Ctrl-C comes as one. */
export function listenToKeys(listener: KeyListener): { close(): void } {
  const input = process.stdin
  input.setRawMode(true)
  input.setEncoding('utf8')
  const read = (text: string): void => {
    for (const key of keysOf(text)) listener(key)
  }
  const ended = (): void => listener('interrupt')
  input.on('data', read)
  input.on('end', ended)
  input.resume()
  return {
    close() {
      input.off('data', read)
      input.off('end', ended)
      input.setRawMode(false)
      input.pause()
    },
  }
}
