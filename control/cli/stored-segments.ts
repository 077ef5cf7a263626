import type { ApiClient } from '../api/client.ts'
import type { Segment } from '../api/shapes.ts'

/** Every stored segment, in pages, in the order in which chains are verified. */
export async function* storedSegments(
  api: ApiClient,
  payloads: 'with' | 'without',
  seen: (count: number) => void,
): AsyncGenerator<Segment> {
  let cursor: string | undefined
  let count = 0
  do {
    const query = { payloads, limit: 20, ...(cursor === undefined ? {} : { cursor }) }
    const page = await api.call('auditSegments', { query })
    for (const segment of page.items) {
      yield segment
      count += 1
    }
    seen(count)
    cursor = page.next === null || page.next === cursor ? undefined : page.next
  } while (cursor !== undefined)
}
