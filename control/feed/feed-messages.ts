import type { FeedEvent, ToProxy } from '../api/feed.ts'
import type { FeedRow } from './read-feed.ts'

/** Well under `messageBytesMax`, so that one event more never crosses it. */
const messageBytesAim = 1024 * 1024

/** Cuts a list so that each part's JSON has about the size of a message. At least one part, which may be empty. */
export function inParts<T>(items: readonly T[], bytesAim = messageBytesAim): T[][] {
  const parts: T[][] = [[]]
  let bytes = 0
  for (const item of items) {
    const itemBytes = Buffer.byteLength(JSON.stringify(item))
    if (bytes > 0 && bytes + itemBytes > bytesAim) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)!.push(item)
    bytes += itemBytes
  }
  return parts
}

/**
 * The messages that bring a group's proxy from `cursor` to `position`: what is of other groups is left out, but the position
 * moves past it (a confirmation may have named it), so there is always at least one message.
 */
export function eventsMessages(
  rows: readonly FeedRow[],
  group: string,
  cursor: number,
  position: number,
): ToProxy[] {
  const visible = rows.filter(
    (row) => row.position > cursor && (row.group === null || row.group === group),
  )
  const parts = inParts(visible)
  return parts.map((part, index) => ({
    kind: 'events',
    position: index === parts.length - 1 ? position : part.at(-1)!.position,
    events: part.map((row) => row.event),
  }))
}

export function resyncMessages(position: number, events: readonly FeedEvent[]): ToProxy[] {
  const parts = inParts(events)
  return parts.map((part, index) => ({
    kind: 'resync',
    position,
    events: part,
    more: index < parts.length - 1,
  }))
}
