/** What people do over SSH, through the whole product: control, proxy, a real sshd, OpenSSH's own clients and those that start them. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../fakes/postgres-site.ts'
import type { ActivityView, SessionView } from '../../control/api/shapes.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'

const mebibyte = 1024 * 1024
const jumped = ways.jump('web1')
const direct = ways.direct('web1')
let stack: SshStack
let dev: SshPerson

beforeAll(async () => {
  stack = await startSshStack()
  dev = await stack.person('dev')
  await stack.grant(dev)
})
afterAll(() => stack?.stop())

const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
/** A file in the account's home, and one of the person's. */
const far = (name: string): string => join(stack.accounts[0].home, name)
const near = (name: string): string => join(dev.home, name)
const activity = async (text: string, kind: ActivityView['kind'] = 'command') => {
  const wanted = (each: ActivityView): boolean =>
    each.kind === kind && each.text.includes(text) && each.outcome !== null
  const found = await stack.activities(dev, (all) => all.some(wanted))
  return found.find(wanted)!
}

describe.each([
  ['by the jump', jumped],
  ['by the ~ form', direct],
])('%s', (way, web1) => {
  const mark = way.replaceAll(/\W/g, '')

  test('a command runs, as the account of the level, and ends as it ends', async () => {
    const line = `echo ${mark}; id -u; echo err >&2; exit 7`
    const ran = await dev.ssh([web1, line])
    const out = `${mark}\n${stack.accounts[0].uid}\n`
    expect({ ...ran, out: ran.out.toString() }).toEqual({ code: 7, out, err: 'err\n' })
    expect(await activity(line)).toMatchObject({
      ...{ resource: 'web1', protocol: 'ssh', level: 'read', kind: 'command', text: line },
      outcome: { status: 'error', tag: 'exit 7', bytesDown: out.length + 'err\n'.length },
    })
  })

  test('keys are exchanged anew in the middle, every megabyte', async () => {
    const bytes = randomBytes(20 * mebibyte)
    const ran = await dev.ssh(['-o', 'RekeyLimit=1M', web1, 'cat'], bytes)
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(digestOf(ran.out)).toBe(digestOf(bytes))
  })

  test('scp copies both ways, in its old mode and by SFTP', async () => {
    const bytes = randomBytes(300_000)
    writeFileSync(near(`sent-${mark}`), bytes)
    for (const mode of ['-O', '-s']) {
      const there = `copied-${mark}${mode}`
      const up = await dev.run('scp', [mode, near(`sent-${mark}`), `${web1}:${there}`])
      expect(up).toMatchObject({ code: 0, err: '' })
      expect(readFileSync(far(there))).toEqual(bytes)
      const down = await dev.run('scp', [mode, `${web1}:${there}`, near(there)])
      expect(down).toMatchObject({ code: 0, err: '' })
      expect(readFileSync(near(there))).toEqual(bytes)
      expect(JSON.stringify(await activity(there, 'fileTransfer'))).toContain(digestOf(bytes))
    }
  })

  test('a batch of sftp, and each file is in the audit with what was transferred', async () => {
    const bytes = randomBytes(70_000)
    writeFileSync(near(`batch-${mark}`), bytes)
    const batch = [
      `mkdir dir-${mark}`,
      `put batch-${mark} dir-${mark}/one`,
      `rename dir-${mark}/one dir-${mark}/two`,
      `get dir-${mark}/two back-${mark}`,
    ]
    const ran = await dev.run(
      'sftp',
      ['-b', '-', web1],
      [...batch, `rm dir-${mark}/two`, ''].join('\n'),
    )
    expect(ran.code, ran.err).toBe(0)
    expect(readFileSync(near(`back-${mark}`))).toEqual(bytes)
    const found = await stack.activities(dev, (all) =>
      all.some(
        ({ text, outcome }) =>
          text.startsWith('remove') && text.includes(`dir-${mark}/two`) && outcome !== null,
      ),
    )
    const done = found.map(({ text }) => text).filter((text) => text.includes(`dir-${mark}`))
    const words = [
      new RegExp(`make-directory.*dir-${mark}`),
      new RegExp(`write.*dir-${mark}/one`),
      new RegExp(`rename.*dir-${mark}/one.*dir-${mark}/two`),
      new RegExp(`read.*dir-${mark}/two`),
    ]
    for (const word of words)
      expect(
        done.some((text) => word.test(text)),
        done.join(),
      ).toBe(true)
    expect(JSON.stringify(found)).toContain(digestOf(bytes))
  })

  test('rsync brings a tree up to date', async () => {
    const tree = near(`tree-${mark}`)
    mkdirSync(join(tree, 'deep'), { recursive: true })
    writeFileSync(join(tree, 'deep', 'file'), randomBytes(200_000))
    const shell = ['-e', `ssh -F ${dev.config}`]
    for (const text of ['first', 'second']) {
      writeFileSync(join(tree, 'changed'), text)
      const ran = await dev.run('rsync', ['-a', ...shell, `${tree}/`, `${web1}:tree-${mark}/`])
      expect(ran).toMatchObject({ code: 0, err: '' })
      expect(readFileSync(join(far(`tree-${mark}`), 'changed'), 'utf8')).toBe(text)
    }
    expect(statSync(join(far(`tree-${mark}`), 'deep', 'file')).size).toBe(200_000)
  })

  test('git clones and pushes', async () => {
    const made = await dev.ssh([web1, `git init -q --bare repository-${mark}.git`])
    expect(made).toMatchObject({ code: 0 })
    const git = (...words: string[]) =>
      dev.run('git', [
        ...['-c', `core.sshCommand=ssh -F ${dev.config}`, '-c', 'user.name=dev'],
        ...['-c', 'user.email=dev@example.test', ...words],
      ])
    const there = `ssh://${web1}${far(`repository-${mark}.git`)}`
    expect(await git('clone', '-q', there, near(`clone-${mark}`))).toMatchObject({ code: 0 })
    writeFileSync(join(near(`clone-${mark}`), 'file'), 'content')
    const inClone = ['-C', near(`clone-${mark}`)]
    expect(await git(...inClone, 'add', 'file')).toMatchObject({ code: 0 })
    expect(await git(...inClone, 'commit', '-qm', 'one')).toMatchObject({ code: 0 })
    const pushed = await git(...inClone, 'push', '-q', 'origin', 'HEAD:main')
    expect(pushed).toMatchObject({ code: 0, err: '' })
    expect(await git('clone', '-q', '-b', 'main', there, near(`again-${mark}`))).toMatchObject({
      code: 0,
    })
    expect(readFileSync(join(near(`again-${mark}`), 'file'), 'utf8')).toBe('content')
  })

  test('eight share one connection, which is one session; a second one needs no sign-in either', async () => {
    const began = Date.now()
    const since = ({ openedAtMs }: SessionView): boolean => openedAtMs >= began
    const control = ['-o', `ControlPath=${near(`master-${mark}`)}`]
    const master = dev.start('ssh', [...control, '-M', '-N', web1])
    const ended = ranToEnd(master)
    while (!existsSync(near(`master-${mark}`))) await new Promise((next) => setTimeout(next, 20))
    const numbers = [1, 2, 3, 4, 5, 6, 7, 8]
    const ran = await Promise.all(
      numbers.map((number) => dev.ssh([...control, web1, `echo ${number}; sleep 0.5`])),
    )
    expect(ran.map(({ out }) => out.toString())).toEqual(numbers.map((number) => `${number}\n`))
    const other = await dev.ssh(['-o', 'ControlPath=none', web1, 'echo beside'])
    expect(other.out.toString()).toBe('beside\n')
    await dev.ssh([...control, '-O', 'exit', web1])
    await ended
    const after = await stack.sessions(dev, (all) => all.filter(since).length >= 2)
    expect(after.filter(since)).toHaveLength(2)
  })

  test('a terminal has its size and follows it', async () => {
    const remote =
      'stty size; trap \\"stty size\\" WINCH; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.3; done'
    const local = [
      'stty rows 33 cols 99',
      `(sleep 1.5; stty rows 44 cols 111 </dev/tty) & ssh -F ${dev.config} -tt ${web1} "${remote}"`,
    ].join('; ')
    const ran = await dev.run('script', ['-qec', local, '/dev/null'])
    expect(ran.out.toString()).toContain('33 99')
    expect(ran.out.toString()).toContain('44 111')
  })

  test('a shell reads what it is told slowly; a signal ends what it ends', async () => {
    const client = dev.start('ssh', ['-T', web1])
    const ended = ranToEnd(client)
    client.stdin.write('echo one\n')
    await new Promise((resolve) => client.stdout.once('data', resolve))
    client.stdin.end('sleep 0.2; read word; echo got $word\nlate\nexit 3\n')
    const ran = await ended
    expect([ran.code, ran.out.toString()]).toEqual([3, 'one\ngot late\n'])
    const killed = await dev.ssh([web1, `echo ${mark} to be killed; kill -9 $$`])
    expect(killed.code).toBe(255)
    expect((await activity(`${mark} to be killed`)).outcome?.tag).toBe('signal KILL')
  })
})

test('who has no grant is told what to ask for, and whoever is unknown no more than that', async () => {
  const stranger = await stack.person('stranger')
  for (const name of ['web1', 'nowhere']) {
    for (const to of Object.values(ways)) {
      const ran = await stranger.ssh([to(name), 'true'])
      expect(ran.code).toBe(255)
      expect(ran.err).toContain(`access to "${name}" is not granted`)
    }
  }
})

test('a level is chosen by its name or its account', async () => {
  await stack.grant(dev, { level: 'admin', forMs: 600_000 })
  const ids = await Promise.all(
    ['read', 'admin', ...stack.accounts.map(({ name }) => name)].map(async (name) => {
      const ran = await dev.ssh([ways.direct('web1', name), 'id -u'])
      return Number(ran.out.toString())
    }),
  )
  const [viewer, operator] = stack.accounts.map(({ uid }) => uid)
  expect(ids).toEqual([viewer, operator, viewer, operator])
})

test('many sessions come and go, and nothing stays', async () => {
  const rounds = process.env['SALLYPORT_LONG'] === '1' ? 125 : 6
  const pid = stack.pid('proxy')
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length
  await dev.ssh([direct, 'true'])
  const before = descriptors()
  for (let round = 0; round < rounds; round += 1) {
    const ran = await Promise.all(Array.from({ length: 8 }, () => dev.ssh([direct, 'true'])))
    expect(ran.every(({ code }) => code === 0)).toBe(true)
  }
  await stack.sessions(dev, (all) => all.every(({ closedAtMs }) => closedAtMs !== null))
  // Each session has two at least; the proxy's own connections to control come and go, a few at a time.
  await eventually(() => descriptors() <= before + 16)
  expect(stack.served()).toEqual([])
})

// Last: what was recorded of it keeps control busy for a while.
test.each([
  ['jump', jumped],
  ['direct', direct],
])('a large file goes up and comes down byte for byte: %s', async (mark, web1) => {
  // Either is more than all windows, and more than is recorded.
  const mebibytes = process.env['SALLYPORT_LONG'] === '1' ? 100 : 10
  const bytes = Buffer.alloc(mebibytes * mebibyte)
  // Random enough that no two places are alike, and quick to make.
  const block = randomBytes(mebibyte)
  for (let at = 0; at < bytes.length; at += mebibyte) {
    block.copy(bytes, at)
    bytes.writeUInt32BE(at, at)
  }
  const up = await dev.ssh([web1, `cat > big-${mark}; sha256sum < big-${mark}`], bytes)
  expect(up).toMatchObject({ code: 0, err: '' })
  expect(up.out.toString()).toContain(digestOf(bytes))
  const down = await dev.ssh([web1, `cat big-${mark}; rm big-${mark}`])
  expect(down.out.length).toBe(bytes.length)
  expect(digestOf(down.out)).toBe(digestOf(bytes))
})
