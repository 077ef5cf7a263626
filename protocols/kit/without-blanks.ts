/**
 * A name or value of a cookie without the blanks and tabs around it (RFC 6265, 5.2), and nothing else: to browsers a name that begins with any
 * other space is another name, which other hosts may set.
 */
export function withoutBlanks(text: string): string {
  return text.replace(/^[\t ]+/, '').replace(/(?<![\t ])[\t ]+$/, '')
}
