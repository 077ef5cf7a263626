/** An error as the user sees it: what happened, where, what to do next. Never a stack, unless asked for. */
import { SallyportError, type ErrorCode } from '../../protocols/kit/errors.ts'
import type { Problem } from '../api/problem.ts'
import type { Cli } from './cli.ts'
import { exitCodeOf, type ExitCode } from './exit-codes.ts'
import { signInHint } from './sign-in-hint.ts'
import { printable, printableJson, printableLines } from './printable.ts'

interface Told {
  code: ErrorCode
  message: string
  hint?: string
  issues?: Problem['issues']
}

/** Writes it to standard error and returns the exit code. */
export function reportError(thrown: unknown, cli: Cli): ExitCode {
  const told = tell(thrown)
  if (cli.json) {
    cli.writeError(`${printableJson({ error: told })}\n`)
  } else {
    const lines = [`${cli.paintNote('error:', 'red')} ${printableLines(told.message)}`]
    for (const { path, message, line, column } of told.issues ?? []) {
      const at = line === undefined ? '' : `${line}:${column ?? 1} `
      lines.push(`  ${printable(`${at}${path === '' ? '' : `${path}: `}${message}`)}`)
    }
    if (told.hint !== undefined) {
      lines.push(`${cli.paintNote('hint:', 'cyan')} ${printableLines(told.hint)}`)
    }
    cli.writeError(`${lines.join('\n')}\n`)
  }
  if (cli.environment['SALLY_DEBUG'] === '1' && thrown instanceof Error) {
    cli.writeError(`${printableLines(describe(thrown))}\n`)
  }
  return exitCodeOf(told.code)
}

function tell(thrown: unknown): Told {
  if (thrown instanceof SallyportError) {
    const hint = thrown.hint ?? usualHints[thrown.code]
    const issues = 'issues' in thrown ? (thrown.issues as Problem['issues']) : undefined
    return {
      code: thrown.code,
      message: thrown.clientMessage,
      ...(hint === undefined ? {} : { hint }),
      ...(issues === undefined ? {} : { issues }),
    }
  }
  if (thrown instanceof Error && thrown.name.endsWith('ZodError')) {
    return {
      code: 'internal',
      message: 'control answered in a form that this sally does not know',
      hint: 'are they of the same version? compare sally --version with control’s',
    }
  }
  const known = fileMistake(thrown)
  if (known !== undefined) return known
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return {
    code: 'internal',
    message: `something went wrong in sally: ${message.split('\n')[0] ?? ''}`,
    hint: 'run it again with SALLY_DEBUG=1 to see where, and report that',
  }
}

/** Files that are missing or closed to us are the user's to mend, not a mistake in sally. */
function fileMistake(thrown: unknown): Told | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown) || !('path' in thrown)) return undefined
  const why = {
    ENOENT: 'does not exist',
    EACCES: 'may not be read or written',
    EISDIR: 'is a directory',
    ENOTDIR: 'is not a directory',
    EEXIST: 'exists already',
  }[String(thrown.code)]
  if (why === undefined) return undefined
  return { code: 'config-invalid', message: `${String(thrown.path)} ${why}` }
}

/** For refusals that came without one. */
const usualHints: Partial<Record<ErrorCode, string>> = {
  'evidence-missing': signInHint,
  'evidence-invalid': signInHint,
  'evidence-expired': signInHint,
  'sign-in-refused': 'begin again: sally login',
  'sign-in-unavailable': 'try again in a minute: sally login',
  'not-allowed': 'sally whoami shows your roles; an admin can do what you cannot',
  'access-denied': 'sally resources shows what you may reach and what you may ask for',
  'control-unreachable': 'check that it runs and that this machine can reach it: sally doctor',
  'store-unavailable': 'control’s store does not answer; try again, then look at control’s log',
  'rate-limited': 'wait a moment and try again',
}

function describe(error: Error): string {
  const stack = error.stack ?? String(error)
  return error.cause instanceof Error ? `${stack}\ncaused by: ${describe(error.cause)}` : stack
}
