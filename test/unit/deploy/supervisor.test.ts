import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createSupervisor, type ChildProgram } from '../../../deploy/supervisor.ts'
import { sleep, systemClock as clock } from '../../../protocols/kit/clock.ts'

const preload = join(import.meta.dirname, '../../../deploy/exit-with-parent.ts')
const guard = join(import.meta.dirname, '../../../deploy/guard.ts')
const supervisorModule = join(import.meta.dirname, '../../../deploy/supervisor.ts')
const clockModule = join(import.meta.dirname, '../../../protocols/kit/clock.ts')

describe('supervisor', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-supervisor-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  /** Says that it is ready, then runs until it is asked to stop, and notes that it was. */
  const program = (name: string, code?: string): ChildProgram => {
    const ready = join(directory, `${name}.ready`)
    return {
      name,
      command: [
        ...[process.execPath, '--import', preload, '-e'],
        code ??
          `const fs = require('node:fs')
           process.on('SIGTERM', () => { fs.appendFileSync(${JSON.stringify(join(directory, 'order'))}, '${name} '); process.exit(0) })
           setInterval(() => {}, 1000)
           fs.writeFileSync(${JSON.stringify(ready)}, String(process.pid))`,
      ],
      logFile: join(directory, `${name}.log`),
      prepare: () => rmSync(ready, { force: true }),
      ready: () => existsSync(ready),
      stopMs: 5_000,
    }
  }

  it('starts programs and stops them in the opposite order', async () => {
    const supervisor = createSupervisor({ clock, announce: () => undefined })
    await supervisor.start(program('first'))
    await supervisor.start(program('second'))
    const pid = supervisor.pid('second')!
    expect(isAlive(pid)).toBe(true)
    await supervisor.stop()
    expect(readFileSync(join(directory, 'order'), 'utf8')).toBe('second first ')
    expect(isAlive(pid)).toBe(false)
  })

  it('starts one again that was killed', async () => {
    const lines: string[] = []
    const supervisor = createSupervisor({ clock, announce: (line) => lines.push(line) })
    try {
      await supervisor.start(program('fragile'))
      const pid = supervisor.pid('fragile')!
      process.kill(pid, 'SIGKILL')
      await until(() => lines.some((line) => line.includes('is up again')))
      expect(supervisor.pid('fragile')).not.toBe(pid)
      expect(lines[0]).toContain('fragile ended (SIGKILL)')
    } finally {
      await supervisor.stop()
    }
  })

  it('says what a program printed that did not start', async () => {
    const supervisor = createSupervisor({ clock, announce: () => undefined })
    const broken = program('broken', `console.error('the port is taken'); process.exit(3)`)
    await expect(supervisor.start(broken)).rejects.toMatchObject({
      clientMessage: expect.stringContaining('the port is taken'),
    })
    await supervisor.stop()
  })

  it('leaves no orphan when it is killed itself', async () => {
    const ready = join(directory, 'child.ready')
    const script = join(directory, 'supervise.mjs')
    const child = program('child')
    const guarded = ['-e', `require('node:child_process'); setInterval(() => {}, 1000)`]
    writeFileSync(
      script,
      `import { createSupervisor } from ${JSON.stringify(supervisorModule)}
       import { systemClock as clock } from ${JSON.stringify(clockModule)}
       import { existsSync, renameSync, writeFileSync, readFileSync } from 'node:fs'
       const supervisor = createSupervisor({ clock, announce: () => {} })
       await supervisor.start({ name: 'child', command: ${JSON.stringify(child.command)}, logFile: ${JSON.stringify(child.logFile)},
         ready: () => existsSync(${JSON.stringify(ready)}), stopMs: 1000 })
       await supervisor.start({ name: 'guarded', command: ${JSON.stringify([process.execPath, guard, '0', '0', 'SIGTERM', process.execPath, ...guarded])},
         logFile: ${JSON.stringify(child.logFile)}, ready: () => readFileSync(\`/proc/\${supervisor.pid('guarded')}/task/\${supervisor.pid('guarded')}/children\`, 'utf8') !== '', stopMs: 1000 })
       const guardPid = supervisor.pid('guarded')
       const inner = readFileSync(\`/proc/\${guardPid}/task/\${guardPid}/children\`, 'utf8').trim()
       writeFileSync(${JSON.stringify(join(directory, 'pids.new'))}, [supervisor.pid('child'), guardPid, inner].join(' '))
       renameSync(${JSON.stringify(join(directory, 'pids.new'))}, ${JSON.stringify(join(directory, 'pids'))})
       setInterval(() => {}, 1000)`,
    )
    const supervising = spawn(process.execPath, [script], { stdio: 'ignore' })
    await until(() => existsSync(join(directory, 'pids')))
    const pids = readFileSync(join(directory, 'pids'), 'utf8').split(' ').map(Number)
    expect(pids).toHaveLength(3)
    for (const pid of pids) expect(isAlive(pid)).toBe(true)
    supervising.kill('SIGKILL')
    await once(supervising, 'exit')
    await until(() => pids.every((pid) => !isAlive(pid)))
  })
})

async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = clock.monotonicMs() + 9_000
  while (!holds()) {
    if (clock.monotonicMs() > deadlineMs) throw new Error(`still not: ${holds.toString()}`)
    await sleep(clock, 20)
  }
}

/** A zombie, which nobody has waited for, is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
