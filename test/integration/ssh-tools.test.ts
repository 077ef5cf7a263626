/** Programs that start ssh themselves, and one that looks for weaknesses. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startSshStack, sshDomain, type SshPerson, type SshStack } from '../ssh-stack.ts'

let stack: SshStack
let dev: SshPerson
beforeAll(async () => {
  stack = await startSshStack()
  dev = await stack.person('dev')
  await stack.grant(dev)
})
afterAll(() => stack?.stop())

test('Ansible pings and copies with one sign-in', async () => {
  const folder = join(dev.home, 'ansible')
  mkdirSync(folder)
  writeFileSync(join(folder, 'inventory'), `web1.${sshDomain}\n`)
  writeFileSync(join(folder, 'file'), 'from ansible')
  writeFileSync(
    join(folder, 'ansible.cfg'),
    [
      '[defaults]',
      `inventory = ${join(folder, 'inventory')}`,
      `local_tmp = ${join(folder, 'tmp')}`,
      'interpreter_python = /usr/bin/python3',
      '[ssh_connection]',
      `ssh_args = -F ${dev.config} -o ControlMaster=auto -o ControlPersist=10s -o ControlPath=${dev.home}/%C`,
      '',
    ].join('\n'),
  )
  const ansible = (...words: string[]) =>
    dev.run('env', [`ANSIBLE_CONFIG=${join(folder, 'ansible.cfg')}`, 'ansible', 'all', ...words])
  const pinged = await ansible('-m', 'ping')
  expect(pinged.out.toString() + pinged.err).toContain('"ping": "pong"')
  const copied = await ansible('-m', 'copy', '-a', `src=${join(folder, 'file')} dest=copied`)
  expect(copied.code, copied.out.toString() + copied.err).toBe(0)
  const there = join(stack.accounts[0].home, 'copied')
  expect(readFileSync(there, 'utf8')).toBe('from ansible')
})

test('ssh-audit finds nothing that it calls a failure', async () => {
  const ran = await dev.run('ssh-audit', ['-j', '-p', String(stack.sshPort), '127.0.0.1'])
  const found = JSON.parse(ran.out.toString()) as Record<string, unknown>
  expect(found).toHaveProperty('kex')
  const plain = await dev.run('ssh-audit', ['-n', '-p', String(stack.sshPort), '127.0.0.1'])
  const lines = plain.out.toString().split('\n')
  expect(lines.filter((line) => line.includes('[fail]'))).toEqual([])
  expect(lines.some((line) => line.startsWith('(kex)'))).toBe(true)
})
