/** One process per data directory: two PGlites over the same files would destroy them. */
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../protocols/kit/errors.ts'

/** Takes the lock and returns how to give it back. Throws `config-invalid` while another process holds it. */
export function lockDataDirectory(directory: string): () => void {
  const path = join(directory, 'lock')
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      const file = openSync(path, 'wx', 0o600)
      writeSync(file, JSON.stringify({ pid: process.pid, started: startOf(process.pid) }))
      closeSync(file)
      let held = true
      return () => {
        if (held) unlinkSync(path)
        held = false
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const holder = readHolder(path)
    if (holder !== undefined && isAlive(holder)) {
      throw new SallyportError(
        'config-invalid',
        `${directory} is in use by process ${holder.pid}`,
        {
          clientMessage: `the data directory ${directory} is in use by process ${holder.pid}`,
          hint: 'stop that process, or choose another --data-dir',
        },
      )
    }
    // Left behind by a process that was killed.
    try {
      unlinkSync(path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  throw new SallyportError('config-invalid', `the lock of ${directory} cannot be taken`)
}

interface Holder {
  pid: number
  started: string
}

function readHolder(path: string): Holder | undefined {
  try {
    const parsed = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>
    return typeof parsed.pid === 'number' && typeof parsed.started === 'string'
      ? { pid: parsed.pid, started: parsed.started }
      : undefined
  } catch {
    return undefined
  }
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  // A number is used again after a restart of the machine or of a container: the start tells them apart.
  return holder.started === '' || startOf(holder.pid) === holder.started
}

/** When a process started, in clock ticks since boot (proc(5), stat field 22); '' where there is no /proc. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
