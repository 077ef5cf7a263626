import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const sallyPath = fileURLToPath(new URL('../control/cli/sally', import.meta.url))
const mainPath = fileURLToPath(new URL('../control/cli/main.ts', import.meta.url))

export interface SallyRun {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** Runs the real command line to its end. Nothing of the test's own environment but PATH and HOME reaches it. */
export function runSally(
  commandLine: readonly string[],
  options: { home?: string; environment?: NodeJS.ProcessEnv; input?: string } = {},
): Promise<SallyRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [mainPath, ...commandLine], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        ...(options.home === undefined ? {} : { SALLY_HOME: options.home }),
        ...options.environment,
      },
    })
    const run: SallyRun = { code: null, signal: null, stdout: '', stderr: '' }
    child.stdout.setEncoding('utf8').on('data', (text: string) => (run.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (run.stderr += text))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ ...run, code, signal }))
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
  })
}
