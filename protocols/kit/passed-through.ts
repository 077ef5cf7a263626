/**
 * Keeps what passes through from filling memory. Each read of a socket makes a buffer outside of V8's heap, and a young generation that is
 * large is rarely collected for the little that buffers take inside of it. V8 answers so many bytes outside by collecting the whole heap, on
 * all processors, every 13 MB: two thirds of the processor's time of an SSH download. PostgreSQL and HTTP
 * have it collected less often, and gain a third to a half even so. To collect the young generation takes half a millisecond, and memory that is
 * used again soon is still in the processor's cache.
 */

/** What may pass before the buffers that it was in are collected. Bytes. */
const youngBytesMax = 8 * 1024 * 1024

/** There with Node's `--expose-gc`, as the supervisor runs proxies; without it everything works, and bulk is slower. */
const collect = (globalThis as { gc?: (options: { readonly type: 'minor' }) => void }).gc

let bytesSince = 0
let isScheduled = false

/** To be called with the length of each buffer that was read. */
export function passedThrough(bytes: number): void {
  bytesSince += bytes
  if (bytesSince < youngBytesMax || isScheduled || collect === undefined) return
  isScheduled = true
  // When what was just read has gone on: what a collection finds in use twice is old from then on.
  setImmediate(() => {
    isScheduled = false
    bytesSince = 0
    collect({ type: 'minor' })
  })
}
