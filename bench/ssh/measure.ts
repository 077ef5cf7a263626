/** What is measured; times are of the monotonic clock, in milliseconds. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { SshPerson } from '../../test/ssh-stack.ts'
import { residentKb } from '../process-usage.ts'
import { sessionsAtOnce } from './options.ts'

const settleMs = 1_500
const warmSessions = 8

export type Direction = 'up' | 'down'

/** Bytes per second of a command that reads or prints so many, from its start to its end. */
export async function measureBulk(
  person: SshPerson,
  args: readonly string[],
  direction: Direction,
  bytes: number,
  clock: Clock,
): Promise<number> {
  const zeros = `head -c ${bytes} /dev/zero`
  // Its first line says that it runs, so that no login is measured.
  const remote = direction === 'up' ? 'echo; wc -c' : `echo; ${zeros}`
  const source = spawn('sh', ['-c', direction === 'up' ? `read go; ${zeros}` : 'read go'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const client = spawn('ssh', [...args, remote], {
    env: { ...process.env, HOME: person.home },
    stdio: [source.stdout, 'pipe', 'inherit'],
  })
  source.stdout.destroy()
  let startedMs = 0
  let got = 0
  let last = ''
  client.stdout.on('data', (chunk: Buffer) => {
    if (startedMs === 0) {
      startedMs = clock.monotonicMs()
      source.stdin.end('\n')
    }
    got += chunk.length
    last = chunk.toString('latin1').slice(-32)
  })
  const [code] = (await once(client, 'close')) as [number]
  const tookMs = clock.monotonicMs() - startedMs
  const moved = direction === 'up' ? Number(last.trim()) : got - 1
  if (code !== 0 || moved !== bytes) {
    throw new Error(`ssh ${args.join(' ')}: code ${code}, ${moved} of ${bytes} bytes`)
  }
  return (bytes / tookMs) * 1_000
}

/** Milliseconds from a key to its echo, of each keystroke. */
export async function measureEcho(
  person: SshPerson,
  args: readonly string[],
  keystrokes: number,
  clock: Clock,
): Promise<number[]> {
  const client = start(person, ['-tt', ...args, 'stty raw -echo; printf ready; exec cat'])
  const { stdin, stdout } = client
  try {
    for (let seen = ''; !seen.includes('ready');) {
      const [chunk] = (await once(stdout, 'data')) as [Buffer]
      seen += chunk.toString()
    }
    const times: number[] = []
    for (let key = 0; key < keystrokes; key += 1) {
      const sentMs = clock.monotonicMs()
      stdin.write('x')
      await once(stdout, 'data')
      times.push(clock.monotonicMs() - sentMs)
    }
    return times
  } finally {
    await ended(client)
  }
}

/** Sessions per second: a login, `true` and the end of it, a few at a time. */
export async function measureSessions(
  person: SshPerson,
  args: readonly string[],
  count: number,
  clock: Clock,
): Promise<number> {
  const startedMs = clock.monotonicMs()
  let left = count
  const work = async (): Promise<void> => {
    while (left-- > 0) {
      const client = start(person, [...args, 'true'])
      client.stdin.end()
      const [code] = (await once(client, 'close')) as [number]
      if (code !== 0) throw new Error(`ssh ${args.join(' ')}: ${code}`)
    }
  }
  await Promise.all(Array.from({ length: sessionsAtOnce }, work))
  return (count / (clock.monotonicMs() - startedMs)) * 1_000
}

/** Resident memory of a process per idle session in kB: a terminal with a program that says nothing. */
export async function measureMemory(
  person: SshPerson,
  args: readonly string[],
  pid: number,
  count: number,
  clock: Clock,
): Promise<number> {
  const close = async (open: ChildProcess[]): Promise<void> => {
    await Promise.all(open.map(ended))
  }
  await close(await openIdle(person, args, warmSessions))
  await sleep(clock, settleMs)
  const beforeKb = residentKb(pid)
  const open = await openIdle(person, args, count)
  try {
    await sleep(clock, settleMs)
    return (residentKb(pid) - beforeKb) / count
  } finally {
    await close(open)
  }
}

async function openIdle(
  person: SshPerson,
  args: readonly string[],
  count: number,
): Promise<ChildProcess[]> {
  const open: ChildProcess[] = []
  for (let left = count; left > 0; left -= sessionsAtOnce) {
    const some = Array.from({ length: Math.min(left, sessionsAtOnce) }, () =>
      start(person, ['-tt', ...args, 'echo; exec sleep 600']),
    )
    open.push(...some)
    await Promise.all(some.map(({ stdout }) => once(stdout, 'data')))
  }
  return open
}

function start(person: SshPerson, args: readonly string[]) {
  const child = spawn('ssh', args, {
    env: { ...process.env, HOME: person.home },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin.on('error', () => undefined)
  return child
}

async function ended(client: ChildProcess): Promise<void> {
  if (client.exitCode !== null || client.signalCode !== null) return
  const gone = once(client, 'exit')
  client.kill()
  await gone
}
