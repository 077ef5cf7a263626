import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

/** The servers that tests start read what they start with as compiled code, from their second start on. */
const env = {
  NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules', '.cache', 'sallyport', 'code'),
}

/**
 * `maxWorkers`: files at once; by itself vitest leaves a processor out. Those with servers of their own wait most of the time: three of them
 * keep two processors busy.
 * The limits end what hangs: the slowest takes half a minute by itself, and several times that on a machine that others use.
 * Long runs: `SALLYPORT_LONG=1` (fuzz, faults and soak take minutes instead of seconds).
 */
const project = (
  name: string,
  include: string[],
  testTimeout: number,
  maxWorkers: number | string,
) => ({
  test: {
    name,
    include,
    testTimeout,
    hookTimeout: 240_000,
    // By itself vitest looks for one second, which a busy machine may need for one answer.
    expect: { poll: { timeout: 30_000 } },
    pool: 'forks' as const,
    env,
    maxWorkers,
    // Projects of different widths run one after the other.
    sequence: {
      groupOrder: ['unit', 'conformance', 'integration', 'browser', 'faults'].indexOf(name),
    },
  },
})

export default defineConfig({
  test: {
    globalSetup: 'test/prepare.ts',
    projects: [
      project(
        'unit',
        ['test/unit/**/*.test.ts', '{proxy,control,protocols,certs}/**/*.test.ts'],
        60_000,
        '100%',
      ),
      project('conformance', ['test/conformance/**/*.test.ts'], 240_000, 2),
      project('integration', ['test/integration/**/*.test.ts'], 240_000, 3),
      // Each drives a browser, which takes a processor by itself.
      project('browser', ['test/browser/**/*.test.ts'], 240_000, 1),
      project('faults', ['test/faults/**/*.test.ts'], 300_000, 2),
    ],
  },
})
