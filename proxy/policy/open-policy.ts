/** The policy in use, and how it is read again. */
import { statSync } from 'node:fs'
import { InvalidInput } from '../../control/api/problem.ts'
import type { Log } from '../../protocols/engine.ts'
import { toSallyportError } from '../../protocols/kit/errors.ts'
import { readPolicy, type Policy } from './policy.ts'

const behind =
  'its policy file has a mistake or is gone: the policy from before counts (the log says where; mend the file, then send SIGHUP)'

export interface OpenedPolicy {
  readonly current: Policy
  /** Since the start, besides the first reading. */
  readonly taken: number
  readonly failed: number
  /** The file was broken when it was last read: the policy from before counts. */
  readonly isBehind: boolean
  /** That in a sentence, for whoever looks at the proxies. */
  readonly shortcoming: string | undefined
  /** Reads the file again. What is wrong with it goes to the log, and the policy stays whole as it was. */
  reload(): void
  /** Called in the same turn of the event loop in which another policy counts. */
  onChange(listener: () => void): void
}

/** At the start no file, or an empty one, binds nothing; later it is one that somebody moved, or is about to write. Throws `config-invalid`. */
export function openPolicy(policyFile: string, log: Log): OpenedPolicy {
  const listeners: (() => void)[] = []
  let [taken, failed, isBehind] = [0, 0, false]
  const { size } = statSync(policyFile, { throwIfNoEntry: false }) ?? { size: 0 }
  let current: Policy = size === 0 ? { secrets: [] } : readPolicy(policyFile)
  const warnIfEmpty = (): void => {
    if (current.secrets.length > 0) return
    log.warn({ policyFile }, 'the policy binds no secret: nothing can be reached')
  }
  warnIfEmpty()

  return {
    get current() {
      return current
    },
    get taken() {
      return taken
    },
    get failed() {
      return failed
    },
    get isBehind() {
      return isBehind
    },
    get shortcoming() {
      return isBehind ? behind : undefined
    },
    reload() {
      try {
        current = readPolicy(policyFile)
      } catch (error) {
        failed += 1
        isBehind = true
        const { code, message } = toSallyportError(error)
        // The message has the first of them alone.
        const mistakes = error instanceof InvalidInput ? error.issues : []
        log.error(
          { policyFile, code, error: message, mistakes },
          'the policy was not read: it stays as it was',
        )
        return
      }
      taken += 1
      isBehind = false
      log.info({ policyFile, rules: current.secrets.length }, 'the policy was read again')
      warnIfEmpty()
      for (const listener of listeners) listener()
    },
    onChange: (listener) => void listeners.push(listener),
  }
}
