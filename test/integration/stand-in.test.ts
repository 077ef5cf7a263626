/** What the demo has for web1 where no sshd is installed, behind a real proxy and with the real OpenSSH client. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWeb1, web1Resource, web1Rule, type Web1 } from '../../deploy/demo/web1.ts'
import { freePort } from '../../deploy/ports.ts'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { eventually } from '../demo-site.ts'
import { certifyWith, makeKey, publicKeyBlob } from '../fakes/sshd-site.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { prepareTestSite, type OpenTestSite } from '../site.ts'
import { sshDomain, sshPerson, ways, type SshPerson } from '../ssh-stack.ts'

const prepared = prepareTestSite({ name: 'stand-in', domain: sshDomain, protocols: ['ssh'] })
const { directory } = prepared
const said: string[] = []
let opened: OpenTestSite
let web1: Web1
let ann: SshPerson

beforeAll(async () => {
  opened = await prepared.open()
  web1 = await startWeb1(
    { sshd: await freePort(), page: await freePort() },
    {
      ...{ directory, clock, api: opened.api, supervisor: prepared.resources, found: undefined },
      announce: (line) => said.push(line),
    },
  )
  await opened.api.call('resourcesApply', { body: { file: { resources: [web1Resource(web1)] } } })
  await opened.startProxy({ policy: `secrets:\n${web1Rule(web1)}` })
  ann = await sshPerson(opened, 'ann')
  await opened.grant(ann.email, 'web1', 'read', 3_600_000)
})
afterAll(async () => {
  web1.close()
  await prepared.stop()
})

const jump = ways.jump('web1')

test('it is called what it is, with the way to a real one', async () => {
  expect(said.join()).toMatch(/stand-in.*apt-get install .*openssh-server/)
  const { items } = await opened.api.call('resources', { query: {} })
  expect(items[0]).toMatchObject({ name: 'web1', tags: { server: 'stand-in' } })
  expect(items[0]!.description).toContain('stand-in')
})

test('commands run there, with their output, errors and codes', async () => {
  for (const to of [jump, ways.direct('web1')]) {
    const ran = await ann.ssh([to, "whoami; echo 'one  two' && cat site/site.conf"])
    expect(ran).toMatchObject({ code: 0, err: '' })
    expect(String(ran.out)).toBe('viewer\none  two\nlisten 80\nworkers 4\nmaintenance off\n')
  }
  expect(await ann.ssh([jump, 'exit 7'])).toMatchObject({ code: 7 })
  const unknown = await ann.ssh([jump, 'vim README'])
  expect(unknown).toMatchObject({ code: 127 })
  expect(unknown.err).toMatch(/vim: not found[^]*stand-in/)
  const pipe = await ann.ssh([jump, 'cat README | sh'])
  expect(pipe).toMatchObject({ code: 2 })
  expect(pipe.err).toContain('more than this stand-in knows')
})

test('nothing of the machine can be reached through it', async () => {
  const { err, out } = await ann.ssh([jump, 'cat /etc/passwd ../../etc/passwd site/../../x'])
  expect(String(out)).toBe('')
  expect(err.match(/there is no such file/g)).toHaveLength(3)
  const copy = await ann.run('scp', ['-q', `${jump}:README`, join(ann.home, 'README')])
  expect(copy.code).not.toBe(0)
  expect(copy.err).toContain('there is no sftp here')
})

test('the commands of the demo’s tour run there', async () => {
  const command = 'cat README; timeout 6 tail -n 3 -f site/logs/access.log'
  const ran = await ann.ssh(['-tt', jump, command])
  expect(String(ran.out)).toMatch(/you are viewer[^]*GET [^]*\r\n/)
  expect(ran.code).toBe(124)
})

test('a terminal echoes and edits, and what is typed is known', async () => {
  const client = ann.start('ssh', ['-tt', jump])
  const ended = ranToEnd(client)
  let shown = ''
  client.stdout.on('data', (chunk: Buffer) => (shown += String(chunk)))
  const until = (words: string): Promise<string> =>
    eventually(
      () => shown,
      (text) => text.includes(words),
    )
  await until('~$ ')
  expect(shown).toContain('This is a stand-in for a server')
  client.stdin.write('echoo\x7f hello there\r')
  await until('\nhello there\r\n')
  // Ctrl-Z would stop the process of the stand-in, were it left to readline.
  client.stdin.write('sleep 1000\r\x1a\x03')
  await until('^C')
  client.stdin.write('who\x03')
  await until('who^C')
  client.stdin.write('whoami\r')
  await until('\nviewer\r\n')
  client.stdin.write('exit 3\r')
  expect(await ended).toMatchObject({ code: 3 })
  await eventually(
    async () => {
      const { items } = await opened.api.call('auditSearch', { query: { person: ann.email } })
      return items.filter(({ kind }) => kind === 'typed').map(({ text }) => text)
    },
    (typed) => typed.includes('echo hello there') && typed.includes('whoami'),
  )
})

test('without a terminal, lines are commands', async () => {
  const { code, out } = await ann.ssh(['-T', jump], 'echo one\nfalse\n')
  expect(String(out)).toBe('one\n')
  expect(code).toBe(1)
})

test('its page is reached by the declared tunnel, and nothing else is', async () => {
  const port = await freePort()
  const way = `${port}:localhost:${web1.ports.page}`
  const client = ann.start('ssh', ['-N', '-L', way, jump])
  const ended = ranToEnd(client)
  const page = await eventually(
    () => get(port).catch(() => ''),
    (text) => text !== '',
  )
  expect(page).toBe('web1 is well\n')
  client.kill()
  await ended
})

test('a revoked grant ends it with its reason, and what ran there is gone', async () => {
  const bob = await sshPerson(opened, 'bob')
  const { id } = await opened.grant(bob.email, 'web1', 'read', 3_600_000)
  const client = bob.start('ssh', ['-tt', jump, 'echo begun; tail -f site/logs/access.log'])
  const ended = ranToEnd(client)
  await once(client.stdout, 'data')
  await opened.api.call('grantRevoke', { params: { id }, body: { reason: 'a test is over' } })
  const { code, out, err } = await ended
  expect(code).not.toBe(0)
  expect(`${out.toString()}${err}`).toContain('a test is over')
})

test('who does not come through the proxy is refused', async () => {
  makeKey(directory, 'other')
  makeKey(directory, 'key')
  const publicKey = publicKeyBlob(join(directory, 'key.pub'))
  const certificate = certifyWith(directory, 'other', publicKey, 'viewer', '-1m:+5m')
  const blob = certificate.toString('base64')
  writeFileSync(join(directory, 'key-cert.pub'), `ssh-ed25519-cert-v01@openssh.com ${blob}\n`)
  const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null']
  const { code, err } = await ann.run('ssh', [
    ...['-F', 'none', '-i', join(directory, 'key'), '-p', String(web1.ports.sshd)],
    ...options.flatMap((option) => ['-o', option]),
    'viewer@127.0.0.1',
    'whoami',
  ])
  expect(code).toBe(255)
  expect(err).toContain('Permission denied (publickey)')
  expect(readFileSync(join(directory, 'logs', 'stand-in.log'), 'utf8')).toContain(
    'another authority signed it',
  )
  const keys = execFileSync('ssh-keyscan', ['-p', String(web1.ports.sshd), '127.0.0.1'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  expect(keys).toContain(web1.hostKeyLine)
})

function get(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, timeout: 5_000 }, (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += String(chunk)))
      response.on('end', () => resolve(text))
    })
    asked.on('error', reject)
    asked.end()
  })
}
