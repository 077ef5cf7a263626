/** Processes that a killed supervisor left behind: they end by themselves within seconds, and this waits for them. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { sleep, type Clock } from '../protocols/kit/clock.ts'

const pidList = z.array(z.int().positive()).max(100)
const waitMsMax = 8_000
const pollMs = 50

const pidFile = (directory: string): string => join(directory, 'processes.json')

export function writePids(directory: string, pids: readonly number[]): void {
  writeFileSync(pidFile(directory), JSON.stringify(pids), { mode: 0o600 })
}

/** Waits for what an earlier supervisor of this directory started; kills what does not end. */
export async function awaitLeftovers(directory: string, clock: Clock): Promise<void> {
  const deadlineMs = clock.monotonicMs() + waitMsMax
  for (const pid of readPids(directory)) {
    while (belongsTo(pid, directory)) {
      if (clock.monotonicMs() > deadlineMs) process.kill(pid, 'SIGKILL')
      await sleep(clock, pollMs)
    }
  }
}

function readPids(directory: string): readonly number[] {
  const file = pidFile(directory)
  if (!existsSync(file)) return []
  try {
    return pidList.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch {
    return []
  }
}

/** Whether a process with this id lives and names our directory: ids are used again. */
function belongsTo(pid: number, directory: string): boolean {
  try {
    const command =
      process.platform === 'linux'
        ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        : execFileSync('ps', ['-p', String(pid), '-o', 'command='], { encoding: 'utf8' })
    return command.includes(directory)
  } catch {
    return false
  }
}
