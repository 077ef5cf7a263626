/** Commands through the engine: the real OpenSSH client, a real sshd, a fake gate. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../fakes/postgres-site.ts'
import { startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { startSshSite, type SshSite } from '../fakes/ssh-site.ts'

let sshd: SshdSite
let site: SshSite
beforeAll(async () => {
  sshd = await startSshd()
})
afterAll(() => sshd?.stop())
beforeEach(async () => {
  site = await startSshSite(sshd)
})
afterEach(async () => {
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const session of site.gate.sessions) {
    await session.closed
    for (const record of session.records) expect(record.outcomes).toHaveLength(1)
    for (const recording of session.recordings) expect(recording.ended).toBe(true)
  }
  await site.close()
})

describe.each(['direct', 'jumped'] as const)('%s', (way) => {
  test('a command runs, and what it says and how it ends comes back', async () => {
    const ran = await site.ssh([site[way], 'echo out; echo err >&2; exit 7'])
    expect(ran).toMatchObject({ code: 7, err: 'err\n' })
    expect(ran.out.toString()).toBe('out\n')
    const [session] = site.gate.sessions
    await session!.closed
    const [record] = session!.records
    expect(record).toMatchObject({ kind: 'command', text: 'echo out; echo err >&2; exit 7' })
    expect(record!.outcomes[0]).toMatchObject({ status: 'error', tag: 'exit 7', bytesDown: 8 })
  })
})
