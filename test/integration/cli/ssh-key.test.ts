/** `sally ssh-key` and `sally ssh-authority`, with OpenSSH's own tools on the other side. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { verifySshKeyProof } from '../../../certs/verify-ssh-key-proof.ts'
import { sshKeyProofNamespace, sshKeyProofText, type SshKeyView } from '../../../control/api/ssh.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseSshPublicKeyLine, sshFingerprint } from '../../../protocols/kit/ssh-public-key.ts'
import { makeHome, startFakeApi, type FakeApi } from '../../fakes/api.ts'
import { dev, devId, shopHandlers } from '../../fakes/shop.ts'
import { createSshLogins, startAgent, type RunningAgent } from '../../fakes/ssh-login.ts'
import { runSally } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
let agent: RunningAgent
let keys: SshKeyView[] = []

interface Added {
  publicKey: string
  proof: string
  name: string
  forMs: number
}

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-ssh-key-'))
  agent = await startAgent(scratch)
  api = await startFakeApi({
    ...(await shopHandlers()),
    ...createSshLogins(() => api).handlers,
    sshKeys: ({ query }) => ({
      items: keys.filter(({ personEmail }) => (query['person'] ?? personEmail) === personEmail),
      next: null,
    }),
    // As control does it.
    sshKeyAdd: ({ body }) => {
      const { publicKey: line, proof, name, forMs } = body as Added
      const publicKey = parseSshPublicKeyLine(line)
      const text = sshKeyProofText('default', devId)
      verifySshKeyProof({ publicKey, text, namespace: sshKeyProofNamespace, proof })
      const fingerprint = sshFingerprint(publicKey.blob)
      keys.push(view(`0190aaaa-bbb${keys.length}-7000-8000-000000000001`, { name, fingerprint }))
      const added = { ...keys.at(-1)!, publicKey: line }
      keys[keys.length - 1] = { ...added, expiresAtMs: added.addedAtMs + forMs }
      return keys.at(-1)!
    },
    sshKeyRemove: ({ params }) => {
      if (!keys.some(({ id }) => id === params['id'])) {
        const clientMessage = 'there is no such SSH key'
        throw new SallyportError('not-found', clientMessage, { clientMessage })
      }
      keys = keys.filter(({ id }) => id !== params['id'])
      return { done: true }
    },
  })
  home = await makeHome(api, join(scratch, 'home'), { sshPort: 12_222 })
})
beforeEach(() => {
  keys = []
  agent.clear()
})
afterAll(async () => {
  agent?.stop()
  await api?.close()
  rmSync(scratch, { recursive: true, force: true })
})

function view(id: string, more: Partial<SshKeyView> = {}): SshKeyView {
  return {
    ...{ id, personId: devId, personEmail: dev.email, name: 'a key' },
    fingerprint: `SHA256:${'A'.repeat(43)}`,
    publicKey: 'ssh-ed25519 AAAA',
    ...{ addedAtMs: dev.createdAtMs, expiresAtMs: dev.createdAtMs + 86_400_000 },
    ...more,
  }
}
const sally = (words: string[], more: { input?: string; environment?: NodeJS.ProcessEnv } = {}) =>
  runSally(words, { home, ...more })
function makeKey(name: string, ...words: string[]): string {
  const file = join(scratch, name)
  execFileSync('ssh-keygen', [
    '-q',
    '-t',
    'ed25519',
    '-N',
    '',
    '-C',
    `${name} of mine`,
    ...words,
    '-f',
    file,
  ])
  return file
}

describe('sally ssh-key', () => {
  test('add proves the key, by its file; the name is its comment', async () => {
    const file = makeKey('usual')
    const run = await sally(['ssh-key', 'add', `${file}.pub`])
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toMatch(/usual of mine identifies dev@example\.test until .*\nkey SHA256:/)
    expect(keys).toHaveLength(1)
    const json = await sally(['ssh-key', 'add', file, '--name', 'other', '--for', '2d', '--json'])
    expect(JSON.parse(json.stdout)).toMatchObject({ name: 'other' })
    const { addedAtMs, expiresAtMs } = keys[1]!
    expect(expiresAtMs - addedAtMs).toBe(2 * 86_400_000)
  })

  test('add takes one from standard input that the agent holds, and passes over certificates', async () => {
    const file = makeKey('held')
    execFileSync('ssh-add', ['-q', file], {
      env: { ...process.env, SSH_AUTH_SOCK: agent.socket },
    })
    const line = readFileSync(`${file}.pub`, 'utf8')
    const input = `ssh-ed25519-cert-v01@openssh.com AAAA cert\n${line}`
    const environment = { SSH_AUTH_SOCK: agent.socket }
    const run = await sally(['ssh-key', 'add', '-'], { input, environment })
    expect(run.code, run.stderr).toBe(0)
    agent.clear()
    const lost = await sally(['ssh-key', 'add', '-'], { input, environment })
    expect(lost.code).toBe(2)
    expect(lost.stderr).toMatch(/did not sign with this key[^]*ssh-add/)
  })

  test('what is no key, and a key without its private half', async () => {
    const file = join(scratch, 'text')
    writeFileSync(file, 'no key at all\n')
    for (const words of [[file], ['-']]) {
      const run = await sally(['ssh-key', 'add', ...words])
      expect(run.code).toBe(2)
      expect(run.stderr).toContain('holds no public key')
    }
    const lone = makeKey('lone')
    rmSync(lone)
    const run = await sally(['ssh-key', 'add', `${lone}.pub`])
    expect(run.code).toBe(2)
    expect(run.stderr).toContain('did not sign with this key')
    expect(keys).toEqual([])
  })

  test('list and remove, by the characters that the list shows', async () => {
    expect((await sally(['ssh-key'])).stdout).toContain('no registered SSH keys')
    keys = [
      view('0190aaaa-bbb1-7000-8000-000000000001', { name: '\u001b[2Jblue token' }),
      view('77777777-bbb2-7000-8000-000000000003', { personEmail: 'lead@example.test' }),
    ]
    const listed = await sally(['ssh-key', 'list'])
    expect(listed.stdout).toMatch(/^0190aa\S* +dev@example\.test +\S*blue token +ssh-ed25519/m)
    expect(listed.stdout).not.toContain('\u001b')
    const narrow = await sally(['ssh-key'], { environment: { COLUMNS: '40' } })
    for (const line of narrow.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(40)
    const one = await sally(['ssh-key', 'list', '--person', 'lead@example.test', '--json'])
    expect((JSON.parse(one.stdout) as { items: unknown[] }).items).toHaveLength(1)
    const removed = await sally(['ssh-key', 'remove', '0190aaaa', '--json'])
    expect(JSON.parse(removed.stdout)).toEqual({
      done: true,
      id: '0190aaaa-bbb1-7000-8000-000000000001',
    })
    expect((await sally(['ssh-key', 'remove', '0190aaaa'])).code).toBe(4)
    expect((await sally(['ssh-key', 'remove', 'x'])).code).toBe(2)
  })
})

describe('sally ssh-authority', () => {
  test('a line as sshd wants it, and on standard error where it goes', async () => {
    const run = await sally(['ssh-authority', 'upstream'])
    expect(run).toMatchObject({ code: 0, stdout: 'two\n' })
    expect(run.stderr).toContain('TrustedUserCAKeys')
    const json = await sally(['ssh-authority', 'people', '--json'])
    expect(JSON.parse(json.stdout)).toEqual({ which: 'people', keys: ['one'], text: 'one' })
    expect(json.stderr).toBe('')
    expect((await sally(['ssh-authority', 'all'])).code).toBe(2)
  })

  test('hosts are lines of known_hosts', async () => {
    const run = await sally(['ssh-authority', 'hosts'])
    const file = join(scratch, 'known')
    writeFileSync(file, run.stdout)
    const found = execFileSync('ssh-keygen', ['-F', 'web1.access.localhost', '-f', file])
    expect(found.toString()).toContain('@cert-authority')
  })
})
