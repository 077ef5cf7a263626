/** How control and the proxy are run by the supervisor: under the demo, under `npm start` and in tests. */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ChildProgram } from './supervisor.ts'

const root = join(import.meta.dirname, '..')
const preload = join(import.meta.dirname, 'exit-with-parent.ts')

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
  return nodeProgram('control', 'control/main.ts', settings)
}

export function proxyProgram(settings: ProgramSettings): ChildProgram {
  return nodeProgram('proxy', 'proxy/main.ts', settings)
}

function nodeProgram(name: string, main: string, settings: ProgramSettings): ChildProgram {
  const readyFile = join(settings.dataDirectory, 'ready.json')
  return {
    name,
    command: [
      ...[process.execPath, '--import', preload, join(root, main)],
      ...['--data-dir', settings.dataDirectory, '--ready', readyFile, ...settings.flags],
    ],
    ...(settings.environment === undefined ? {} : { environment: settings.environment }),
    logFile: settings.logFile,
    prepare: () => rmSync(readyFile, { force: true }),
    ready: () => existsSync(readyFile),
    stopMs: settings.stopMs,
  }
}
