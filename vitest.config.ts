import { defineConfig } from 'vitest/config'

/** Long runs: `SALLYPORT_LONG=1` (fuzz, faults and soak take minutes instead of seconds). */
const project = (name: string, include: string[], testTimeout: number) => ({
  test: {
    name,
    include,
    testTimeout,
    hookTimeout: 120_000,
    pool: 'forks' as const,
    // Two cores: integration files bring their own servers and run one after the other.
    fileParallelism: name === 'unit',
  },
})

export default defineConfig({
  test: {
    globalSetup: 'test/prepare.ts',
    projects: [
      project(
        'unit',
        ['test/unit/**/*.test.ts', '{proxy,control,protocols,certs}/**/*.test.ts'],
        10_000,
      ),
      project('conformance', ['test/conformance/**/*.test.ts'], 60_000),
      project('integration', ['test/integration/**/*.test.ts'], 120_000),
      project('faults', ['test/faults/**/*.test.ts'], 300_000),
    ],
  },
})
