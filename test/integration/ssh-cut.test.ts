/** A revocation while a command and a full-screen program run; and what the recording of that screen shows afterwards. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeFrames } from '../../control/api/audit/recording.ts'
import type { RecordingView } from '../../control/api/recording-shapes.ts'
import { eventually } from '../demo-site.ts'
import { createScreen } from '../fakes/screen.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'

let stack: SshStack
beforeAll(async () => {
  stack = await startSshStack({ resources: { web2: { recording: { input: true } } } })
})
afterAll(() => stack?.stop())

/** An interactive ssh in a terminal of 24 × 80 whose screen can be looked at. */
function openTerminal(person: SshPerson, to: string, ...more: string[]) {
  const line = `stty rows 24 cols 80; exec ssh -F ${person.config} -tt ${more.join(' ')} ${to}`
  const client = person.start('script', ['-qec', line, '/dev/null'])
  const screen = createScreen(80, 24)
  let shown = ''
  let bytes = 0
  client.stdout.on('data', (chunk: Buffer) => {
    shown += chunk.toString()
    bytes += chunk.length
    screen.write(chunk)
  })
  /** What is on the screen, and how many bytes that took. */
  const look = async (): Promise<{ text: string; bytes: number }> => {
    for (;;) {
      const before = bytes
      const text = await screen.text()
      if (bytes === before) return { text, bytes }
    }
  }
  return {
    client,
    look: (words: string) => eventually(look, ({ text }) => text.includes(words)),
    ended: ranToEnd(client),
    type: (keys: string) => client.stdin.write(keys),
    shows: (words: string) =>
      eventually(
        () => shown,
        (text) => text.includes(words),
      ),
  }
}

/** All that a recording has, as it was written. */
async function framesOf(recording: RecordingView) {
  const frames: ReturnType<typeof decodeFrames> = []
  let cursor: string | undefined
  for (;;) {
    const page = await stack.api.call('recordingRead', {
      params: { id: recording.sessionId, number: recording.number },
      query: cursor === undefined ? {} : { cursor },
    })
    for (const part of page.parts) {
      if (part.frames !== null) frames.push(...decodeFrames(Buffer.from(part.frames, 'base64')))
    }
    if (page.ended) return frames
    cursor = page.next
  }
}

const recordingsOf = async (id: string) =>
  (await stack.api.call('recordings', { params: { id } })).items

test.each(Object.entries(ways))(
  'revoked, a command and a full-screen program end at once and say why: %s',
  async (way, to) => {
    const person = await stack.person(`cut-${way}`)
    // Nobody else's on this machine.
    const [sleep, text] = [`sleep 1000.${process.pid}`, `text-of-${way}-${process.pid}`]
    const grant = await stack.grant(person)
    const control = ['-o', `ControlPath=${join(person.home, 'master')}`]
    const master = person.start('ssh', [...control, '-M', to('web1'), `echo up; ${sleep}`])
    const command = ranToEnd(master)
    await new Promise((resolve) => master.stdout.once('data', resolve))
    const terminal = openTerminal(person, to('web1'), ...control)
    await terminal.shows('$')
    terminal.type(`vim.tiny -u NONE ${text}\r`)
    await terminal.shows('~')
    await eventually(
      () => [stack.processes(sleep), stack.processes(text)],
      (running) => running.every((pids) => pids.length > 0),
    )
    const orderedAt = Date.now()
    await stack.api.call('grantRevoke', {
      params: { id: grant.id },
      body: { reason: 'the incident is over' },
    })
    const [ran, shown] = await Promise.all([command, terminal.ended])
    expect(Date.now() - orderedAt).toBeLessThan(5_000)
    expect(ran.code).toBe(255)
    expect(ran.err).toContain('was revoked: the incident is over')
    expect(shown.out.toString()).toContain('was revoked: the incident is over')
    expect(shown.out.toString()).toContain('sally request web1')
    await eventually(
      () => [...stack.processes(sleep), ...stack.processes(text)],
      (pids) => pids.length === 0,
    )
    const [session] = await stack.sessions(
      person,
      ([one]) => typeof one?.cut?.closedAtMs === 'number',
    )
    expect(session).toMatchObject({ state: 'closed', cut: { reason: 'grant-revoked' } })
    const { orderedAtMs, lastByteAtMs } = session!.cut!
    expect(lastByteAtMs! - orderedAtMs).toBeLessThan(1_000)
    const done = await stack.activities(person, (all) =>
      all.every(({ outcome }) => outcome !== null),
    )
    expect(done.find(({ text }) => text.includes(sleep))!.outcome!.status).toBe('cancelled')
  },
)

test('a recording shows the same screen as the terminal did, at three moments', async () => {
  const person = await stack.person('screens')
  await stack.grant(person, { resource: 'web2' })
  const terminal = openTerminal(person, ways.jump('web2'))
  await terminal.shows('$')
  terminal.type('exec vim.tiny -u NONE text\r')
  const empty = await terminal.look('~')
  terminal.type('ione line of text\rand a second one')
  const written = await terminal.look('and a second one')
  terminal.type('\u001b:%s/line/LINE/\r')
  const changed = await terminal.look('one LINE of text')
  terminal.type(':q!\r')
  expect((await terminal.ended).code).toBe(0)
  const [session] = await stack.sessions(person, ([one]) => one?.state === 'closed')
  const [recording] = await eventually(
    () => recordingsOf(session!.id),
    ([first]) => first?.state === 'sealed',
  )
  expect(recording).toMatchObject({ kind: 'terminal', columns: 80, rows: 24 })
  const frames = await framesOf(recording!)
  const output = Buffer.concat(
    frames.filter(({ kind }) => kind === 'upstream').map(({ bytes }) => bytes),
  )
  for (const { text, bytes } of [empty, written, changed]) {
    const replayed = createScreen(80, 24)
    replayed.write(output.subarray(0, bytes))
    expect(await replayed.text()).toBe(text)
  }
})
