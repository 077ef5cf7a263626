/** Moments for people. Scripts get the exact milliseconds with `--json`. */
import { formatDuration } from '../api/duration.ts'

/** "in 4m 12s", "3h 5m ago", "now". */
export function relativeTime(atMs: number, nowMs: number): string {
  const apartMs = atMs - nowMs
  if (Math.abs(apartMs) < 1_000) return 'now'
  return apartMs > 0 ? `in ${formatDuration(apartMs)}` : `${formatDuration(-apartMs)} ago`
}

/** "2026-03-01 14:05:09" in the local time zone. */
export function localTime(atMs: number): string {
  const at = new Date(atMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** Microseconds as "840µs", "12ms", "3.2s" or a longer duration. */
export function shortDuration(durationUs: number): string {
  if (durationUs < 1_000) return `${Math.round(durationUs)}µs`
  if (durationUs < 1_000_000) return `${Math.round(durationUs / 1_000)}ms`
  if (durationUs < 60_000_000) return `${(durationUs / 1_000_000).toFixed(1)}s`
  return formatDuration(durationUs / 1_000)
}

/** "0 B", "12.3 kB", "4.5 MB": powers of 1,000. */
export function shortBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`
  const units = ['kB', 'MB', 'GB', 'TB', 'PB'] as const
  let value = bytes
  let unit: string = 'B'
  for (const next of units) {
    if (value < 1_000) break
    value /= 1_000
    unit = next
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`
}
