/** What runs in channels: the real OpenSSH client and its companions, a real sshd, a fake gate. */
import { execFileSync, spawn as spawnChild } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../fakes/postgres-site.ts'
import { startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { startSshSite, type SshSite } from '../fakes/ssh-site.ts'

let sshd: SshdSite
let site: SshSite
/** Lets in an account that sshd passes signals to: root is none. */
let unprivileged: SshdSite
beforeAll(async () => {
  sshd = await startSshd()
  site = await startSshSite(sshd)
  unprivileged = await startSshd({ unprivileged: true })
})
afterAll(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const session of site.gate.sessions) {
    await session.closed
    expect(session.ended ?? session.signal.aborted).toBeTruthy()
    for (const record of session.records) expect(record.outcomes, record.text).toHaveLength(1)
    for (const recording of session.recordings) expect(recording.ended).toBe(true)
  }
  await site.close()
  await Promise.all([sshd.stop(), unprivileged.stop()])
})

const session = () => site.gate.sessions.at(-1)!
const isAlive = (pid: string): boolean => {
  try {
    process.kill(Number(pid), 0)
    return true
  } catch {
    return false
  }
}

describe.each(['direct', 'jumped'] as const)('%s', (way) => {
  test('a command runs, and what it says and how it ends comes back', async () => {
    const ran = await site.ssh([site[way], 'echo out; echo err >&2; exit 7'])
    expect(ran).toMatchObject({ code: 7, err: 'err\n' })
    expect(ran.out.toString()).toBe('out\n')
    await session().closed
    const [record] = session().records
    expect(record).toMatchObject({
      ...{ kind: 'command', operation: 'exec', text: 'echo out; echo err >&2; exit 7' },
    })
    expect(record!.outcomes[0]).toMatchObject({ status: 'error', tag: 'exit 7', bytesDown: 8 })
    const [recording] = session().recordings
    expect(recording!.kind).toBe('stream')
    const from = (who: string): string =>
      recording!.parts
        .map((part) => ('from' in part && part.from === who ? part.bytes.toString() : ''))
        .join('')
    expect([from('upstream'), from('upstream-error')]).toEqual(['out\n', 'err\n'])
  })

  test('bytes are exact both ways, and the end of input arrives', async () => {
    const sent = randomBytes(8 * 1024 * 1024)
    const ran = await site.ssh([site[way], 'cat'], sent)
    expect(ran.out.equals(sent)).toBe(true)
    expect(ran.code).toBe(0)
    await session().closed
    const { bytesUp, bytesDown } = session().records[0]!.outcomes[0]!
    expect([bytesUp, bytesDown]).toEqual([sent.length, sent.length])
  })

  test('commands are as long as servers take them; a longer one is refused in words, and on record', async () => {
    const recorded = async (): Promise<string> => {
      await session().closed
      const { text, textBlob } = session().records[0]!
      return (textBlob === undefined ? text : session().blobs.get(textBlob.sha256))!.toString()
    }
    const digits = '0123456789'.repeat(10_000)
    const line = `printf %s ${digits} | wc -c`
    // Keys are exchanged again on the way, which must change nothing.
    const ran = await site.ssh(['-o', 'RekeyLimit=16K', site[way], line])
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(ran.out.toString().trim()).toBe(`${digits.length}`)
    expect(await recorded()).toBe(line)
    // The client joins its arguments; none of them may be longer than 128 KiB.
    const most = [': ', ...[digits, digits].map((each) => `${each};`)]
    const taken = await site.ssh([site[way], ...most])
    // The server has it whole, and its system takes no argument so long.
    expect(taken.err + taken.code).toMatch(/too long/)
    expect(await recorded()).toBe(most.join(' '))
    const tooLong = [':', digits, digits, digits]
    const refused = await site.ssh([site[way], ...tooLong])
    expect(refused).toMatchObject({ code: 126 })
    expect(refused.err).toContain('sallyport: that command is 300004 bytes long')
    expect(await recorded()).toBe(tooLong.join(' '))
    expect(session().records[0]!.outcomes[0]).toMatchObject({ status: 'skipped' })
    const absurd = await site.ssh([site[way], ':', ...Array<string>(6).fill(digits)])
    expect(absurd.code).toBe(255)
    // In a jump the client may notice first that nobody takes the rest of it.
    if (way === 'direct') expect(absurd.err).toContain('a packet of more than 524288 bytes')
  })

  test('keys are exchanged again in the middle, as the client asks', async () => {
    const sent = randomBytes(6 * 1024 * 1024)
    const ran = await site.ssh(['-o', 'RekeyLimit=1M', site[way], 'cat'], sent)
    expect(ran.out.equals(sent)).toBe(true)
  })

  test('files are copied by scp, old and new, sftp, rsync and git', async () => {
    const folder = join(site.folder, way)
    mkdirSync(folder)
    const at = (name: string): string => join(folder, name)
    const content = randomBytes(300_000)
    writeFileSync(at('a'), content)
    const port = [...site.options]
    for (const mode of [['-O'], ['-s']]) {
      const there = await site.run('scp', [...mode, at('a'), `scp://${site[way]}/${at('b')}`])
      expect(there.err).toBe('')
      const back = await site.run('scp', [...mode, `scp://${site[way]}/${at('b')}`, at('c')])
      expect(back).toMatchObject({ code: 0, err: '' })
      expect(readFileSync(at('c')).equals(content)).toBe(true)
    }
    const batch = `put ${at('a')} ${at('d')}\nrename ${at('d')} ${at('e')}\nget ${at('e')} ${at('f')}\n`
    const sftp = await site.run('sftp', ['-b', '-', site[way]], batch)
    expect(sftp.code, sftp.err).toBe(0)
    expect(readFileSync(at('f')).equals(content)).toBe(true)
    const shell = ['ssh', ...port].join(' ')
    const run = (program: string, args: string[]): string =>
      execFileSync(program, args, { env: { ...process.env, GIT_SSH_COMMAND: shell, HOME: folder } })
        .toString()
        .trim()
    // The client runs in this process’s time: nothing here may wait for the engine by blocking.
    expect(run('git', ['init', '-q', '--bare', at('origin')])).toBe('')
    const cloned = ranToEnd(
      spawnIn(folder, 'git', ['clone', '-q', `${site[way]}:${at('origin')}`, at('clone')], shell),
    )
    expect(await cloned).toMatchObject({ code: 0 })
    run('git', ['-C', at('clone'), 'config', 'user.email', 'dev@example.test'])
    run('git', ['-C', at('clone'), 'config', 'user.name', 'dev'])
    writeFileSync(at('clone/file'), content)
    run('git', ['-C', at('clone'), 'add', 'file'])
    run('git', ['-C', at('clone'), 'commit', '-qm', 'first'])
    const pushed = await ranToEnd(
      spawnIn(folder, 'git', ['-C', at('clone'), 'push', '-q', 'origin', 'HEAD'], shell),
    )
    expect(pushed.code, pushed.err).toBe(0)
    const copied = await ranToEnd(
      spawnIn(folder, 'rsync', ['-e', shell, at('a'), `${site[way]}:${at('g')}`], shell),
    )
    expect(copied.code, copied.err).toBe(0)
    expect(readFileSync(at('g')).equals(content)).toBe(true)
    const texts = site.gate.records.map((record) => record.text)
    expect(texts.some((text) => text.startsWith('rsync --server'))).toBe(true)
    expect(texts.some((text) => text.startsWith('git-receive-pack'))).toBe(true)
    const operations = site.gate.records.filter(({ kind }) => kind === 'fileTransfer')
    expect(operations.map(({ operation }) => operation)).toContain('rename')
  })
})

function spawnIn(folder: string, program: string, args: string[], shell: string) {
  const env = { ...process.env, GIT_SSH_COMMAND: shell, HOME: folder }
  return spawnChild(program, args, { env, cwd: folder })
}

test('many channels over one connection are one session', async () => {
  const before = site.gate.sessions.length
  const control = ['-S', join(site.folder, 'control')]
  const master = site.start('ssh', [...control, '-M', '-N', site.direct])
  await eventually(() => session().isOpen && site.gate.sessions.length === before + 1)
  const numbers = Array.from({ length: 8 }, (_, n) => String(n))
  const ran = await Promise.all(
    numbers.map((n) => site.ssh([...control, site.direct, `echo ${n}`])),
  )
  expect(ran.map(({ out }) => out.toString())).toEqual(numbers.map((n) => `${n}\n`))
  expect(site.gate.sessions.length).toBe(before + 1)
  expect(session().records).toHaveLength(8)
  master.kill()
  await session().closed
})

test('a terminal has the client’s modes, size and name, follows its size, and is recorded', async () => {
  const inner = [...site.options, '-tt', site.direct].join(' ')
  const remote =
    'stty -a; echo $TERM; trap \\"stty size\\" WINCH; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done'
  const script = [
    'stty rows 33 cols 99 intr ^B',
    `(sleep 1.2; stty rows 44 cols 111 </dev/tty) & ssh ${inner} "${remote}"`,
  ].join('; ')
  const client = spawnChild('script', ['-qec', script, '/dev/null'], {
    env: { ...process.env, TERM: 'vt220', HOME: site.folder },
  })
  const ran = await ranToEnd(client)
  const shown = ran.out.toString()
  expect(shown).toContain('rows 33; columns 99')
  expect(shown).toContain('intr = ^B')
  expect(shown).toContain('vt220')
  expect(shown).toContain('44 111')
  await session().closed
  const [recording] = session().recordings
  expect(recording).toMatchObject({
    ...{ kind: 'terminal', header: { columns: 99, rows: 33, term: 'vt220' } },
  })
  expect(recording!.parts).toContainEqual({ columns: 111, rows: 44 })
})

test('settings of the environment pass, and count where they matter', async () => {
  const send = ['-o', 'SendEnv=LC_PROBE', '-o', 'SetEnv=PROBE_TOKEN=hush']
  const ran = await site.ssh([...send, site.direct, 'echo $LC_PROBE $PROBE_TOKEN'])
  expect(ran.out.toString()).toBe('from-the-client hush\n')
  const set = session().records.filter(({ operation }) => operation === 'env')
  expect(set.map(({ text, redacted }) => ({ text, redacted }))).toEqual([
    { text: 'PROBE_TOKEN=', redacted: true },
  ])
})

test('a signal that ends a command is told as one', async () => {
  const ran = await site.ssh([site.direct, 'kill -9 $$'])
  expect(ran.code).toBe(255)
  await session().closed
  expect(session().records[0]!.outcomes[0]!.tag).toBe('signal KILL')
})

test('X11 is refused, and the session goes on', async () => {
  const client = spawnChild('ssh', [...site.options, '-Y', site.direct, 'echo on'], {
    env: { ...process.env, DISPLAY: ':99', HOME: site.folder },
  })
  const ran = await ranToEnd(client)
  expect(ran.out.toString()).toBe('on\n')
})

test('a shell without a terminal reads its script, also slowly', async () => {
  const client = site.start('ssh', ['-T', site.direct])
  const ended = ranToEnd(client)
  client.stdin.write('echo one\n')
  await eventually(() => session().records.length === 1)
  client.stdin.end('sleep 0.2; read word; echo got $word\nlate\nexit 3\n')
  const ran = await ended
  expect(ran.code).toBe(3)
  expect(ran.out.toString()).toContain('one\ngot late\n')
})

describe('a cut', () => {
  test.each(['direct', 'jumped'] as const)(
    'tells why, and ends a command and a full-screen program: %s',
    async (way) => {
      await using cut = await startSshSite(unprivileged)
      const session = () => cut.gate.sessions.at(-1)!
      const control = ['-S', join(cut.folder, 'control')]
      const master = cut.start('ssh', [...control, '-M', cut[way], 'echo $$; exec sleep 1000'])
      let pid = ''
      master.stdout.on('data', (chunk: Buffer) => (pid += chunk.toString()))
      await eventually(() => pid.includes('\n'))
      const screen = cut.start('ssh', [...control, '-tt', cut[way], 'echo pid $$; exec vi'])
      let shown = ''
      screen.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()))
      await eventually(() => /pid \d+/.test(shown) && shown.includes('~'))
      const both = [master, screen].map((client) => ranToEnd(client))
      session().cut('grant-revoked', 'your grant was revoked', 'ask whoever revoked it')
      const [command, terminal] = await Promise.all(both)
      for (const ran of [command!, terminal!]) expect(ran.code).toBe(255)
      expect(command!.err).toContain('your grant was revoked. ask whoever revoked it')
      expect(shown).toContain('your grant was revoked. ask whoever revoked it')
      const pids = [pid.trim(), /pid (\d+)/.exec(shown)![1]!]
      await eventually(() => !pids.some(isAlive))
      await session().closed
      expect(session().records.map((record) => record.outcomes[0]!.status)).toEqual([
        ...['cancelled', 'cancelled'],
      ])
    },
  )
})

test('a warning is shown at a terminal, and in no other stream', async () => {
  const plain = site.start('ssh', [site.direct, 'cat'])
  const ended = ranToEnd(plain)
  await eventually(() => site.gate.records.at(-1)?.text === 'cat')
  session().notify('five minutes left')
  plain.stdin.end('bytes')
  const ran = await ended
  expect([ran.out.toString(), ran.err]).toEqual(['bytes', ''])
  const screen = site.start('ssh', ['-tt', site.direct, 'echo on; sleep 60'])
  let shown = ''
  screen.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()))
  await eventually(() => shown.includes('on'))
  session().notify('five minutes left')
  await eventually(() => shown.includes('five minutes left'))
  screen.kill()
})
