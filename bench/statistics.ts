export interface Figure {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Throws for no values at all: a figure of nothing is a mistake of the benchmark. */
export function figureOf(values: readonly number[]): Figure {
  if (values.length === 0) throw new Error('a figure needs at least one value')
  const sorted = values.toSorted((a, b) => a - b)
  return { median: medianOf(sorted), min: sorted[0]!, max: sorted.at(-1)! }
}

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

/** What was measured of a target in a round. */
export interface RoundSample<Target extends string = string> {
  readonly round: number
  readonly target: Target
}

/** Median of the rounds' ratios: both sides of each were measured next to each other. */
export function ratioOfRounds<Sample extends RoundSample>(
  samples: readonly Sample[],
  ours: Sample['target'],
  peer: Sample['target'],
  of: (sample: Sample) => number,
): number {
  const rounds = samples.filter(({ target }) => target === ours)
  return medianOf(
    rounds.map((own) => {
      const theirs = samples.find(({ target, round }) => target === peer && round === own.round)
      return of(own) / of(theirs!)
    }),
  )
}
