import { parseArgs } from 'node:util'

/** How much is measured: for figures to write down, and within three minutes. */
export interface BenchSizes<Options> {
  readonly whole: Options
  readonly quick: Options
}

export function benchUsage(name: string): string {
  return `usage: npm run bench:${name} -- [--quick] [--json]

  --quick   within three minutes: fewer and shorter rounds
  --json    the last line is one JSON object: machine, figures, ratios`
}

/** Throws an Error whose message is for the person. */
export function readBenchOptions<Options>(
  parameters: readonly string[],
  { whole, quick }: BenchSizes<Options>,
): { readonly json: boolean; readonly options: Options } {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  })
  return { json: values.json, options: values.quick ? quick : whole }
}
