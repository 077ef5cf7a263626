/** HTML by templates that escape whatever is put into them. */

/** Markup; only `markup` makes it. */
export class Html {
  readonly #text: string

  private constructor(text: string) {
    this.#text = text
  }

  static of(parts: readonly string[], values: readonly Value[]): Html {
    return new Html(parts.map((part, index) => part + render(values[index])).join(''))
  }

  toString(): string {
    return this.#text
  }
}

export type Value = string | number | Html | readonly Html[] | undefined

/** A template of markup: texts are escaped, for content and for quoted attributes; markup and lists of it stay what they are. */
export function markup(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return Html.of(parts, values)
}

function render(value: Value): string {
  if (value === undefined) return ''
  if (value instanceof Html) return value.toString()
  if (Array.isArray(value)) return value.map(String).join('')
  return String(value).replaceAll(/[&<>"'`]/g, (character) => `&#${character.codePointAt(0)};`)
}
