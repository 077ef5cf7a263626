/**
 * To one's own terminal, as the recorded one was told. A line feed goes as VT, which is the same to a terminal: Node leaves it
 * returning the carriage at each line feed, and a program that draws may mean only one line down.
 */
export function writeTerminal(text: string): void {
  process.stdout.write(text.replaceAll('\n', '\u000b'))
}
