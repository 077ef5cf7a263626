/** kill -9 of the proxy in the middle of a session: its recording plays to its end, and the chain verifies. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeFrames } from '../../control/api/audit/recording.ts'
import { eventually, run } from '../demo-site.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { startSshStack, ways, type SshPerson, type SshStack } from '../ssh-stack.ts'

let stack: SshStack
let dev: SshPerson
beforeAll(async () => {
  stack = await startSshStack()
  dev = await stack.person('dev')
  await stack.grant(dev)
})
afterAll(() => stack?.stop())

test('what was shown up to then is there, and nothing can be told from a session that ended well but its end', async () => {
  const count = 'for i in $(seq 1000); do echo line-$i-end; sleep 0.02; done'
  const client = dev.start('ssh', ['-tt', ways.jump('web1')])
  const ended = ranToEnd(client)
  let shown = ''
  client.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString()))
  client.stdin.write(`${count}\n`)
  const numbers = (text: string): number[] =>
    [...text.matchAll(/line-(\d+)-end/g)].map(([, number]) => Number(number))
  await eventually(
    () => numbers(shown).length,
    (lines) => lines > 30,
  )
  process.kill(stack.pid('proxy'), 'SIGKILL')
  expect((await ended).code).toBe(255)
  const seen = numbers(shown).at(-1)!
  const [session] = await stack.sessions(
    dev,
    ([one]) => one?.state === 'closed' && one.endReason === 'proxy-lost',
  )
  const { id } = session!
  const [recording] = await eventually(
    async () => (await stack.api.call('recordings', { params: { id } })).items,
    ([first]) => first !== undefined && first.state !== 'live' && first.state !== 'ended',
  )
  expect(recording).toMatchObject({ kind: 'terminal', state: 'ended-with-proxy' })
  const page = await stack.api.call('recordingRead', {
    params: { id, number: recording!.number },
    query: { bytesMax: 4_194_304 },
  })
  expect(page.ended).toBe(true)
  const recorded = page.parts
    .flatMap(({ frames }) => decodeFrames(Buffer.from(frames!, 'base64')))
    .filter(({ kind }) => kind === 'upstream')
    .map(({ bytes }) => bytes.toString())
    .join('')
  const kept = numbers(recorded)
  // At most the last 250 ms are lost: a dozen lines, some more where the machine is slow.
  expect(kept.at(-1)!).toBeGreaterThan(seen - 50)
  expect(kept).toEqual(Array.from(kept, (_, index) => index + 1))
  const activities = await stack.activities(
    dev,
    (all) => all.length > 0 && all.every(({ outcome }) => outcome !== null),
  )
  expect(activities.some(({ outcome }) => outcome!.status === 'unknown')).toBe(true)
  const sally = [join(import.meta.dirname, '../../control/cli/main.ts'), 'audit', 'verify']
  const home = { SALLY_HOME: stack.site.adminHome.files.directory }
  const verified = await run(process.execPath, sally, home)
  expect(verified, verified.stdout).toMatchObject({ code: 0 })
  const again = await dev.ssh([ways.jump('web1'), 'echo back'])
  expect(again.out.toString()).toBe('back\n')
})
