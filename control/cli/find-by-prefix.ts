/** People copy the first characters of an identifier; control takes whole ones. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Page } from './pages.ts'

const whole = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const prefixCharactersMin = 6

export interface Search<T extends { id: string }> {
  /** "grant", "session": for messages. */
  readonly what: string
  /** The command that lists them. */
  readonly listedBy: string
  one(id: string): Promise<T>
  page(query: { cursor?: string; limit: number }): Promise<Page<T>>
}

/** Rejects with `usage` for a prefix that is too short or fits several, with `not-found` for none. */
export async function findByPrefix<T extends { id: string }>(
  text: string,
  search: Search<T>,
): Promise<T> {
  const prefix = text.toLowerCase()
  if (whole.test(prefix)) return search.one(prefix)
  if (!/^[0-9a-f-]+$/.test(prefix) || prefix.length < prefixCharactersMin) {
    throw new SallyportError('usage', `not an id: ${text}`, {
      clientMessage: `${JSON.stringify(text)} is not the id of a ${search.what}, nor its first ${prefixCharactersMin} characters or more`,
      hint: `${search.listedBy} shows ids`,
    })
  }
  const found: T[] = []
  let cursor: string | undefined
  do {
    const page = await search.page({ limit: 1_000, ...(cursor === undefined ? {} : { cursor }) })
    for (const item of page.items) if (item.id.startsWith(prefix)) found.push(item)
    cursor = page.next === null || page.next === cursor ? undefined : page.next
  } while (cursor !== undefined)
  const [first, ...others] = found
  if (first === undefined) {
    throw new SallyportError('not-found', `no ${search.what} ${prefix}`, {
      clientMessage: `no ${search.what} begins with ${JSON.stringify(text)}`,
      hint: `${search.listedBy} shows ids`,
    })
  }
  if (others.length > 0) {
    throw new SallyportError('usage', `${search.what} ${prefix} is ambiguous`, {
      clientMessage: `${found.length} of them begin with ${JSON.stringify(text)}`,
      hint: `give more characters: ${found
        .slice(0, 4)
        .map(({ id }) => id)
        .join(', ')}`,
    })
  }
  return first
}
