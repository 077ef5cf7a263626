import { parseArgs } from 'node:util'
import { resolve } from 'node:path'

export interface DemoOptions {
  /** Undefined: a temporary one that is removed at the end. */
  readonly directory: string | undefined
  readonly readyFile: string | undefined
  /** Take any free ports, not the usual ones. */
  readonly randomPorts: boolean
}

export const demoUsage = `usage: npm run demo -- [options]

  --ready FILE       write FILE (JSON, see README.md) when everything is up
  --ephemeral        keep nothing: a temporary directory, removed at the end
  --data-dir DIR     keep data there (default: ./data/demo)
  --ports random     any free ports instead of the usual ones (control 8443, PostgreSQL 15432, SSH 12222, HTTP 18443)`

/** Throws an Error whose message is for the person. */
export function readDemoOptions(parameters: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      ready: { type: 'string' },
      ephemeral: { type: 'boolean', default: false },
      'data-dir': { type: 'string' },
      ports: { type: 'string', default: 'usual' },
    },
  })
  if (values.ports !== 'usual' && values.ports !== 'random') {
    throw new Error(`--ports takes usual or random, not ${JSON.stringify(values.ports)}`)
  }
  if (values.ephemeral && values['data-dir'] !== undefined) {
    throw new Error('--ephemeral keeps nothing, so it takes no --data-dir')
  }
  return {
    directory: values.ephemeral ? undefined : resolve(values['data-dir'] ?? 'data/demo'),
    readyFile: values.ready === undefined ? undefined : resolve(values.ready),
    randomPorts: values.ports === 'random',
  }
}
