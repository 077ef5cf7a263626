/** Reading lists that control gives in pages. */
import { Option, type Command } from 'commander'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Cli } from './cli.ts'

export interface Page<T> {
  items: T[]
  /** Where to go on; null at the end. */
  next: string | null
}
export interface PageOptions {
  limit: string
  all?: boolean
}

const pageItemsMax = 1_000
/** A list longer than this is not one for a terminal; `sally audit export` has no such limit. */
const itemsMax = 1_000_000

export function addPageOptions(command: Command, all = 'all of them, however many'): Command {
  return command
    .addOption(new Option('--limit <n>', 'at most so many').default('100'))
    .option('--all', all)
}

/** Fetches pages until the limit or the end; `next` of the answer says whether there is more. */
export async function readPages<T, P extends Page<T>>(
  options: PageOptions,
  fetchPage: (query: { cursor?: string; limit: number }) => Promise<P>,
  seen: (count: number) => void = () => undefined,
): Promise<P> {
  let wanted = options.all === true ? itemsMax : parseLimit(options.limit)
  const size = (): number => Math.min(pageItemsMax, wanted)
  const first = await fetchPage({ limit: size() })
  const items: T[] = [...first.items]
  let { next } = first
  wanted -= first.items.length
  while (next !== null && wanted > 0) {
    seen(items.length)
    const page = await fetchPage({ cursor: next, limit: size() })
    for (const item of page.items) items.push(item)
    wanted -= page.items.length
    // A cursor that stands still would never end.
    next = page.next === next ? null : page.next
  }
  return { ...first, items, next }
}

/** Says that the list goes on. */
export function noteMore(cli: Cli, page: Page<unknown>): void {
  if (page.next === null) return
  cli.note(cli.paintNote(`… and more: --limit N or --all`, 'dim'))
}

function parseLimit(text: string): number {
  const limit = Number(text)
  if (Number.isInteger(limit) && limit >= 1 && limit <= itemsMax) return limit
  throw new SallyportError('usage', `not a limit: ${text}`, {
    clientMessage: `--limit ${JSON.stringify(text)} is not a number from 1 to ${itemsMax}`,
  })
}
