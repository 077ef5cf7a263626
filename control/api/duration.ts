import { SallyportError } from '../../protocols/kit/errors.ts'

const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** Reads "90s", "15m", "8h", "1d" or a sum such as "1h30m" as milliseconds. Rejects with `usage`. */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d{1,9})([smhd])/g)]
  const whole = parts.map((part) => part[0]).join('')
  if (whole === '' || whole !== text) {
    throw new SallyportError('usage', `not a duration: ${JSON.stringify(text)}`, {
      clientMessage: `${JSON.stringify(text)} is not a duration`,
      hint: 'write it like 45s, 15m, 8h or 1h30m',
    })
  }
  return parts.reduce((sum, part) => sum + Number(part[1]) * unitMs[part[2] as 's'], 0)
}

/** Milliseconds as "1h 30m" for people: at most two units, rounded down; "0s" for nothing. */
export function formatDuration(durationMs: number): string {
  let left = Math.max(0, Math.floor(durationMs / 1_000))
  const words: string[] = []
  for (const [unit, seconds] of [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ] as const) {
    const count = Math.floor(left / seconds)
    left -= count * seconds
    if (count > 0 && words.length < 2) words.push(`${count}${unit}`)
  }
  return words.join(' ') || '0s'
}
