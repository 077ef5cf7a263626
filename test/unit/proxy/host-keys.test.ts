import { createPublicKey, randomUUID, verify, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { issueSshHostCertificate } from '../../../certs/issue-ssh-host.ts'
import { resource as resourceShape } from '../../../control/api/resource.ts'
import type { FeedEvent } from '../../../control/api/feed.ts'
import { parseSshPublicKey } from '../../../protocols/kit/ssh-public-key.ts'
import { verifySshHostCertificate } from '../../../protocols/kit/verify-ssh-host-certificate.ts'
import { createControlView, type ControlView } from '../../../proxy/grants/control-view.ts'
import { createHostKeys, type HostKeys } from '../../../proxy/identity/host-keys.ts'
import { proxyId, silentLog, turns } from '../../fakes/proxy-world.ts'
import { createSshKey } from '../../fakes/ssh-keys.ts'
import { createTestClock } from '../../test-clock.ts'
import { newSshAuthority } from '../certs/ssh-world.ts'

const authority = newSshAuthority('ssh-hosts')
const domain = 'access.test'
const ssh = { hostKeys: [createSshKey().line] }

let directory: string
let clock: ReturnType<typeof createTestClock>
let view: ControlView
let asked: string[]
/** How long control takes; undefined: it does not answer. */
let answerMs: number | undefined
let certify: (name: string, publicKey: Buffer) => Promise<Buffer>
let stop: () => void

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'host-keys-'))
  clock = createTestClock()
  view = createControlView(silentLog)
  asked = []
  answerMs = 0
  stop = () => undefined
  certify = async (name, publicKey) => {
    asked.push(name)
    if (answerMs === undefined) throw new Error('away')
    await new Promise<void>((resolve) => clock.startTimer(answerMs!, resolve))
    const common = { proxyId, validForMs: 86_400_000, clock, demo: false }
    const issued = await issueSshHostCertificate(authority, { ...common, name, publicKey })
    return issued.certificate
  }
})
afterEach(() => {
  stop()
  rmSync(directory, { recursive: true, force: true })
})

const create = (): HostKeys =>
  createHostKeys({
    ...{ dataDir: directory, domain, group: 'default', view, clock, waitMs: 2_000 },
    certify: (name, publicKey) => certify(name, publicKey),
    metrics: { hostCertificate() {} },
    log: silentLog,
  })

const web = (name: string, group = 'default'): FeedEvent => ({
  kind: 'resource',
  resource: resourceShape.parse({
    ...{ name, group, protocol: 'ssh', address: { host: '127.0.0.1', port: 22 }, ssh },
    levels: { read: { account: 'viewer', secret: 'certificate:web' } },
  }),
})

/** Moves the clock until the promise settles; how long it took, ms. */
async function timed<T>(work: Promise<T>): Promise<{ value: T; ms: number }> {
  const startedMs = clock.monotonicMs()
  const state = { isDone: false }
  const done = work.finally(() => (state.isDone = true))
  done.catch(() => undefined)
  for (let step = 0; step < 5_000 && !state.isDone; step++) {
    await turns(4)
    if (!state.isDone) clock.advance(1)
  }
  return { value: await done, ms: clock.monotonicMs() - startedMs }
}

const keysOf = async (keys: HostKeys, name: string) => (await timed(keys.hostKeys(name))).value
const nameOf = (certificate: Buffer, name: string): KeyObject =>
  verifySshHostCertificate(certificate, {
    ...{ authorities: [authority.publicKey], name, atMs: clock.wallMs() },
  }).key

describe('host keys', () => {
  it('are a certificate for just the name, and the bare key; each signs', async () => {
    const keys = create()
    for (const name of [domain, 'web1.access.test', 'Unknown.Access.TEST']) {
      const [certified, bare, ...more] = (await keysOf(keys, name))!
      expect(more).toEqual([])
      const { key } = parseSshPublicKey(bare!.publicKey)
      expect([certified!.algorithm, bare!.algorithm]).toEqual([
        'ssh-ed25519-cert-v01@openssh.com',
        'ssh-ed25519',
      ])
      const named = nameOf(certified!.publicKey, name.toLowerCase())
      expect(named.equals(key)).toBe(true)
      const data = Buffer.from('exchange')
      expect(verify(null, data, key, certified!.sign(data))).toBe(true)
      expect(verify(null, data, key, bare!.sign(data))).toBe(true)
    }
    for (const outside of ['', 'access.tes', 'evilaccess.test', 'a.b.access.test', 'example.com']) {
      expect(await keysOf(keys, outside)).toBeUndefined()
    }
  })

  it('are the same after a restart, and readable by nobody else', async () => {
    const before = (await keysOf(create(), domain))![1]!
    const after = (await keysOf(create(), domain))![1]!
    expect(after.publicKey.equals(before.publicKey)).toBe(true)
    expect(statSync(join(directory, 'ssh-host.key')).mode & 0o777).toBe(0o600)
    writeFileSync(join(directory, 'ssh-host.key'), 'no key', { mode: 0o600 })
    expect(() => create()).toThrow(expect.objectContaining({ code: 'config-invalid' }))
  })

  it('are there for all resources from the start, also without control after a restart', async () => {
    await view.apply(1, [web('web1'), web('web2'), web('elsewhere', 'other')])
    let keys = create()
    stop = keys.start()
    await turns(20)
    clock.advance(1)
    await turns(20)
    expect(asked.toSorted()).toEqual([domain, 'web1.access.test', 'web2.access.test'])
    await view.apply(2, [web('web3')])
    clock.advance(1_000)
    await turns(20)
    clock.advance(1)
    await turns(20)
    expect(asked).toContain('web3.access.test')
    stop()
    answerMs = undefined
    asked = []
    keys = create()
    for (const name of [domain, 'web1.access.test', 'web3.access.test']) {
      expect(await keysOf(keys, name)).toHaveLength(2)
    }
    expect(asked).toEqual([])
    expect(await keysOf(keys, 'unknown.access.test')).toHaveLength(1)
  })

  it('tell by no time which names there are', async () => {
    await view.apply(1, [web('web1')])
    answerMs = 31
    const keys = create()
    stop = keys.start()
    for (let step = 0; step < 40; step++) {
      clock.advance(1)
      await turns(4)
    }
    const known = await timed(keys.hostKeys('web1.access.test'))
    const unknown = await timed(keys.hostKeys('web9.access.test'))
    expect(known.ms).toBe(unknown.ms)
    expect(known.value!.map((key) => key.algorithm)).toEqual(
      unknown.value!.map((key) => key.algorithm),
    )
    const again = [
      await timed(keys.hostKeys('web1.access.test')),
      await timed(keys.hostKeys('web9.access.test')),
    ]
    expect(again.map(({ ms }) => ms)).toEqual([0, 0])
  })

  it('are renewed before they end, and while control is away the old ones count to their end', async () => {
    const keys = create()
    stop = keys.start()
    await turns(20)
    clock.advance(1)
    await turns(20)
    answerMs = undefined
    clock.advance(20 * 3_600_000)
    await turns(20)
    const [old] = (await keysOf(keys, domain))!
    nameOf(old!.publicKey, domain)
    answerMs = 0
    clock.advance(60_000)
    await turns(20)
    clock.advance(1)
    await turns(20)
    clock.advance(20 * 3_600_000)
    const [renewed] = (await keysOf(keys, domain))!
    expect(renewed!.publicKey.equals(old!.publicKey)).toBe(false)
    nameOf(renewed!.publicKey, domain)
    clock.advance(1)
    await turns(20)
    stop()
    answerMs = undefined
    clock.advance(86_400_000)
    expect((await keysOf(keys, domain))!.map(({ algorithm }) => algorithm)).toEqual(['ssh-ed25519'])
  })

  it('wait for control no longer than they may, and take no certificate that is not theirs', async () => {
    const keys = create()
    answerMs = 60_000
    const late = await timed(keys.hostKeys('slow.access.test'))
    expect(late.value).toHaveLength(1)
    expect(late.ms).toBeLessThanOrEqual(2_020)
    const right = certify
    answerMs = 0
    certify = (name) => right(name, createSshKey().publicKey)
    expect(await keysOf(keys, 'stolen.access.test')).toHaveLength(1)
    certify = (_name, publicKey) => right('web1.access.test', publicKey)
    expect(await keysOf(keys, 'other.access.test')).toHaveLength(1)
    certify = () =>
      Promise.resolve(
        createPublicKey(createSshKey().privateKey).export({ type: 'spki', format: 'der' }),
      )
    expect(await keysOf(keys, 'none.access.test')).toHaveLength(1)
  })

  it('are not there for who asks for many names, whether there are such or not', async () => {
    await view.apply(1, [web('web1'), web('web2')])
    const keys = create()
    stop = keys.start()
    await turns(20)
    clock.advance(1)
    await turns(20)
    const [curious, other] = [{ personId: randomUUID() }, { personId: randomUUID() }]
    const algorithmsOf = async (name: string, asker: { personId: string }) =>
      (await timed(keys.hostKeys(`${name}.access.test`, asker))).value?.map(
        ({ algorithm }) => algorithm,
      )
    await algorithmsOf('web2', curious)
    await timed(
      Promise.all(
        Array.from({ length: 400 }, (_, n) => keys.hostKeys(`guess${n}.access.test`, curious)),
      ),
    )
    const all = ['ssh-ed25519-cert-v01@openssh.com', 'ssh-ed25519']
    for (const name of ['web1', 'guess399']) {
      expect(await algorithmsOf(name, curious)).toBeUndefined()
      expect(await algorithmsOf(name, other)).toEqual(all)
    }
    // What they use goes on.
    expect(await algorithmsOf('web2', curious)).toEqual(all)
    expect(await algorithmsOf('guess1', curious)).toEqual(all)
    clock.advance(3_000)
    expect(await algorithmsOf('web1', curious)).toEqual(all)
  })

  it('are asked of control for so many unknown names and no more; known ones do not suffer', async () => {
    await view.apply(1, [web('web1')])
    const keys = create()
    const all = await Promise.all(
      Array.from({ length: 400 }, async (_, n) => timed(keys.hostKeys(`guess${n}.access.test`))),
    )
    expect(all.filter(({ value }) => value!.length === 2).length).toBeLessThan(260)
    expect(asked.length).toBeLessThan(260)
    stop = keys.start()
    await turns(20)
    clock.advance(1)
    await turns(20)
    expect(await keysOf(keys, 'web1.access.test')).toHaveLength(2)
  })
})
