/**
 * Keeps a few processes running: starts them in order, waits until each is ready, starts one again that ended by
 * itself (with a growing pause), and stops them in the opposite order. None outlives this process.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { sleep, type Clock } from '../protocols/kit/clock.ts'
import { SallyportError } from '../protocols/kit/errors.ts'

export interface ChildProgram {
  readonly name: string
  /** Program and arguments. */
  readonly command: readonly string[]
  readonly environment?: NodeJS.ProcessEnv
  /** What it prints goes to the end of this file. */
  readonly logFile: string
  /** Called before each start: removes what `ready` would take for a sign of life. */
  readonly prepare?: () => void
  /** Whether it is up; asked every few milliseconds until it is. */
  readonly ready: () => boolean
  /** How long SIGTERM may take before SIGKILL. */
  readonly stopMs: number
}

export interface Supervisor {
  /** Starts a program and waits until it is ready. Rejects with `internal` if it ends or hangs before. */
  start(program: ChildProgram): Promise<void>
  /** Process id of a program that runs now. */
  pid(name: string): number | undefined
  /** Stops everything, the last started first. Idempotent. */
  stop(): Promise<void>
}

export interface SupervisorOptions {
  readonly clock: Clock
  /** Tells people what happened: one line. */
  readonly announce: (line: string) => void
  /** Called with the process ids of all programs whenever they change. */
  readonly onPids?: (pids: readonly number[]) => void
}

const readyPollMs = 20
const readyMsMax = 120_000
const restartMs = { first: 250, max: 10_000, forgivenAfter: 30_000 }
const logBytesMax = 16 * 1024 * 1024
const logTailCharacters = 2_000

interface Running {
  readonly program: ChildProgram
  process: ChildProcess
  startedAtMs: number
  pauseMs: number
}

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { clock, announce } = options
  const running: Running[] = []
  const stopping = new AbortController()
  let stopped: Promise<void> | undefined

  const launch = (program: ChildProgram): ChildProcess => {
    program.prepare?.()
    return spawnLogged(program)
  }
  const tellPids = (): void =>
    options.onPids?.(running.map((entry) => entry.process.pid ?? 0).filter((pid) => pid > 0))

  const watch = (entry: Running): void => {
    entry.process.once('exit', (code, signal) => {
      if (stopping.signal.aborted) return
      restart(entry, code, signal).catch((error: unknown) => {
        if (!stopping.signal.aborted) announce(`${entry.program.name}: ${String(error)}`)
      })
    })
  }
  const restart = async (
    entry: Running,
    code: number | null,
    signal: string | null,
  ): Promise<void> => {
    const ranMs = clock.monotonicMs() - entry.startedAtMs
    entry.pauseMs =
      ranMs > restartMs.forgivenAfter ? restartMs.first : Math.min(entry.pauseMs * 2, restartMs.max)
    const how = signal ?? `code ${code}`
    announce(
      `${entry.program.name} ended (${how}); starting it again in ${entry.pauseMs} ms (log: ${entry.program.logFile})`,
    )
    await sleep(clock, entry.pauseMs, stopping.signal)
    entry.startedAtMs = clock.monotonicMs()
    entry.process = launch(entry.program)
    tellPids()
    watch(entry)
    if (await untilReady(clock, entry.program, entry.process, stopping.signal)) {
      announce(`${entry.program.name} is up again`)
    }
  }

  return {
    async start(program) {
      const logBytes = sizeOf(program.logFile)
      const process = launch(program)
      const entry = {
        program,
        process,
        startedAtMs: clock.monotonicMs(),
        pauseMs: restartMs.first / 2,
      }
      running.push(entry)
      tellPids()
      const ready = await untilReady(clock, program, process, stopping.signal)
      if (stopping.signal.aborted) throw new SallyportError('internal', 'stopped while starting')
      if (!ready) throw startFailed(program, logBytes)
      watch(entry)
    },
    pid: (name) => running.find((entry) => entry.program.name === name)?.process.pid,
    stop() {
      stopped ??= (async () => {
        stopping.abort(new SallyportError('internal', 'the supervisor stops'))
        for (const entry of running.toReversed()) await end(clock, entry)
        running.length = 0
        tellPids()
      })()
      return stopped
    },
  }
}

function spawnLogged(program: ChildProgram): ChildProcess {
  mkdirSync(dirname(program.logFile), { recursive: true, mode: 0o700 })
  if (sizeOf(program.logFile) > logBytesMax) renameSync(program.logFile, `${program.logFile}.1`)
  const log = openSync(program.logFile, 'a', 0o600)
  const [command, ...commandArguments] = program.command
  const child = spawn(command!, commandArguments, {
    // Its standard input is how it learns that we are gone: see exit-with-parent.ts.
    stdio: ['pipe', log, log],
    env: program.environment ?? process.env,
    // A group of its own, so that Ctrl-C reaches us alone and the order of stopping is ours.
    detached: true,
  })
  closeSync(log)
  child.on('error', () => undefined)
  child.stdin?.on('error', () => undefined)
  return child
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}

/** False if it ended before it was ready, or never got there. */
async function untilReady(
  clock: Clock,
  program: ChildProgram,
  child: ChildProcess,
  signal: AbortSignal,
): Promise<boolean> {
  const deadlineMs = clock.monotonicMs() + readyMsMax
  while (!signal.aborted && clock.monotonicMs() < deadlineMs && !hasEnded(child)) {
    if (program.ready()) return true
    await sleep(clock, readyPollMs)
  }
  return false
}

async function end(clock: Clock, entry: Running): Promise<void> {
  const child = entry.process
  if (hasEnded(child)) return
  const gone = once(child, 'exit')
  const timer = clock.startTimer(entry.program.stopMs, () => child.kill('SIGKILL'))
  child.kill('SIGTERM')
  await gone
  timer.cancel()
}

function startFailed(program: ChildProgram, logBytes: number): SallyportError {
  const tail = readTail(program.logFile, logBytes)
  return new SallyportError('internal', `${program.name} did not start`, {
    clientMessage: `${program.name} did not start. The end of its log:\n${tail}`,
    hint: `the whole log is ${program.logFile}`,
  })
}

/** The end of what was printed since the log had so many bytes (all of it, if a new log was begun). */
function readTail(file: string, sinceBytes: number): string {
  try {
    const bytes = readFileSync(file)
    const since = bytes.subarray(sinceBytes < bytes.length ? sinceBytes : 0).toString('utf8')
    return since.slice(-logTailCharacters).trimEnd()
  } catch {
    return '(nothing)'
  }
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
