import { SallyportError } from '../../../protocols/kit/errors.ts'

export interface Check {
  readonly name: string
  readonly state: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** The command, or the sentence, that mends it. */
  readonly mend?: string
}

export function ok(name: string, detail: string): Check {
  return { name, state: 'ok', detail }
}

export function warn(name: string, detail: string, mend: string): Check {
  return { name, state: 'warn', detail, mend }
}

export function fail(name: string, detail: string, mend: string): Check {
  return { name, state: 'fail', detail, mend }
}

/** A failed check out of whatever was thrown. */
export function failed(name: string, thrown: unknown, mend: string): Check {
  if (thrown instanceof SallyportError) {
    return fail(name, thrown.clientMessage, thrown.hint ?? mend)
  }
  return fail(name, thrown instanceof Error ? thrown.message : String(thrown), mend)
}
