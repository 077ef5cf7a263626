import { spawn } from 'node:child_process'
import { constants } from 'node:os'
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
  const fromTerminal = isatty(0) || isatty(1) || isatty(2)
  const handlers = new Map<NodeJS.Signals, () => void>()
  const release = (): void => {
    for (const [signal, handler] of handlers) process.off(signal, handler)
  }
  return new Promise((resolve, reject) => {
    // Before it starts: a signal in between would end us and leave it behind.
    for (const signal of [...forwarded, ...typed]) {
      const ignored = fromTerminal && typed.includes(signal)
      const handler = (): void => void (ignored || child.kill(signal))
      handlers.set(signal, handler)
      process.on(signal, handler)
    }
    const child = spawn(path, commandArguments, { stdio: 'inherit', env: environment })
    child.on('error', (error) => {
      release()
      reject(error)
    })
    child.on('exit', (code, signal) => {
      release()
      if (signal !== null) process.kill(process.pid, signal)
      // Still here: a signal that Node ignores (SIGPIPE). Then the code that shells give it.
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}
