import { spawn } from 'node:child_process'
import { isatty } from 'node:tty'

/** Asked of us from outside, meant for the client. */
const forwarded: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']
/** Keys of a terminal, which sends them to the client too: to us they mean nothing. */
const typed: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT']

/**
 * Runs a program in our place: it has our terminal, our signals are its signals, and its exit code becomes ours. If a
 * signal ends it, the same signal ends us.
 */
export function runClient(
  path: string,
  commandArguments: readonly string[],
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(path, commandArguments, { stdio: 'inherit', env: environment })
    const fromTerminal = isatty(0) || isatty(1) || isatty(2)
    const handlers = new Map<NodeJS.Signals, () => void>()
    for (const signal of [...forwarded, ...typed]) {
      const handler =
        fromTerminal && typed.includes(signal) ? () => undefined : () => void child.kill(signal)
      handlers.set(signal, handler)
      process.on(signal, handler)
    }
    const release = (): void => {
      for (const [signal, handler] of handlers) process.off(signal, handler)
    }
    child.on('error', (error) => {
      release()
      reject(error)
    })
    child.on('exit', (code, signal) => {
      release()
      if (signal !== null) process.kill(process.pid, signal)
      resolve(code ?? 1)
    })
  })
}
