import { styleText } from 'node:util'

export type Style = 'red' | 'green' | 'yellow' | 'cyan' | 'bold' | 'dim'

/** Colours a text that is printable already; only where the caller found a terminal that wants it. */
export function paint(text: string, style: Style | undefined, colour: boolean): string {
  return colour && style !== undefined && text !== ''
    ? styleText(style, text, { validateStream: false })
    : text
}
