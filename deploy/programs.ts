/** How control and the proxy are run by the supervisor: under the demo, under `npm start` and in tests. */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { withAllocator } from './allocator.ts'
import type { ChildProgram } from './supervisor.ts'

const root = join(import.meta.dirname, '..')
const preload = join(import.meta.dirname, 'exit-with-parent.ts')
/**
 * V8 sizes a heap by what lives in it. Little does in control, but each request of a proxy's audit passes through as a few MiB:
 * without this the collector would run several times a second, on the processor that sessions need.
 */
const controlHeap = ['--initial-heap-size=256']

/**
 * A young generation that is large from the start: a smaller one is collected while requests are still open, and each is copied before it
 * is over; V8 itself would let it grow only where much survives. It is collected by one thread: to share so little out costs more than
 * doing it, and the other processor has work of its own. And nothing is made in the old generation at once because others of its kind lived long (a
 * WebSocket is made where a request is): dead, it would keep all that it points to until the whole heap is collected.
 * Bulk has the young generation collected early (`protocols/kit/passed-through.ts`). The whole heap is collected at twice what lived in it: left to
 * itself V8 lets it grow by a few MiB only, and counts what passes through outside of it as growth.
 */
const proxyHeap = [
  '--min-semi-space-size=16',
  '--max-semi-space-size=16',
  '--no-parallel-scavenge',
  '--no-allocation-site-pretenuring',
  '--expose-gc',
  '--heap-growing-percent=100',
]

export interface ProgramSettings {
  /** Of this program alone. */
  readonly dataDirectory: string
  readonly logFile: string
  /** Flags of the program's own. */
  readonly flags: readonly string[]
  readonly environment?: NodeJS.ProcessEnv
  readonly stopMs: number
}

export function controlProgram(settings: ProgramSettings): ChildProgram {
  return nodeProgram('control', 'control/main.ts', settings, controlHeap)
}

export function proxyProgram(settings: ProgramSettings): ChildProgram {
  const environment = withAllocator(settings.environment ?? process.env)
  return nodeProgram('proxy', 'proxy/main.ts', { ...settings, environment }, proxyHeap)
}

/** The demo's alone. */
export function identityProviderProgram(settings: ProgramSettings): ChildProgram {
  return nodeProgram('identity-provider', 'deploy/demo/identity-provider.ts', settings)
}

/** The demo's alone, where no sshd is installed. */
export function standInProgram(settings: ProgramSettings): ChildProgram {
  return nodeProgram('stand-in', 'deploy/demo/stand-in.ts', settings)
}

function nodeProgram(
  name: string,
  main: string,
  settings: ProgramSettings,
  nodeFlags: readonly string[] = [],
): ChildProgram {
  const readyFile = join(settings.dataDirectory, 'ready.json')
  return {
    name,
    command: [
      ...[process.execPath, ...nodeFlags, '--import', preload, join(root, main)],
      ...['--data-dir', settings.dataDirectory, '--ready', readyFile, ...settings.flags],
    ],
    ...(settings.environment === undefined ? {} : { environment: settings.environment }),
    logFile: settings.logFile,
    prepare: () => rmSync(readyFile, { force: true }),
    ready: () => existsSync(readyFile),
    stopMs: settings.stopMs,
  }
}
