/** `sally logins` and `sally proxy group`: what they ask of control, and what they say. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ListedLogin } from '../../../control/api/login-view.ts'
import { makeHome, startFakeApi, type FakeApi } from '../../fakes/api.ts'
import { dev, shopHandlers } from '../../fakes/shop.ts'
import { runSally } from '../../run-sally.ts'

let api: FakeApi
let scratch: string
let home: string
const ended: unknown[] = []
let from: readonly string[] = ['203.0.113.0/28']
const group = () => ({
  ...{ name: 'default', domain: 'access.localhost', proxies: [] },
  sshSourceAddresses: [...from],
})

function login(id: string, more: Partial<ListedLogin> = {}): ListedLogin {
  const begunAtMs = dev.createdAtMs
  return {
    ...{
      id,
      issuer: 'https://id.example.test',
      begunAtMs,
      endsAtMs: begunAtMs + 86_400_000 * 9_999,
    },
    ...{ authTimeMs: null, acr: null, amr: [], refreshable: false, personEmail: dev.email },
    ...{ proxyName: null, state: 'live', endedAtMs: null, endReason: null },
    ...more,
  }
}

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-logins-'))
  const items = [
    login('0190aaaa-bbb1-7000-8000-000000000001', { proxyName: '\u001b[2Jeast' }),
    login('77777777-bbb2-7000-8000-000000000003', { state: 'ended' }),
  ]
  api = await startFakeApi({
    ...(await shopHandlers()),
    logins: ({ query }) => ({
      items: items.filter(({ state }) => query['state'] === 'all' || state === 'live'),
      next: null,
    }),
    loginEnd: ({ params, body }) => {
      ended.push({ ...params, ...(body as object) })
      return { done: true }
    },
    groups: () => ({ items: [group()] }),
    groupChange: ({ body }) => {
      from = (body as { sshSourceAddresses: string[] }).sshSourceAddresses
      return group()
    },
  })
  home = await makeHome(api, join(scratch, 'home'))
})
afterAll(async () => {
  await api?.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (...words: string[]) => runSally(words, { home })

test('sign-ins are listed, and ended by the characters that the list shows', async () => {
  const listed = await sally('logins')
  expect(listed.stdout).toMatch(/^0190aa\S* +dev@example\.test +a terminal at \S*east +live/m)
  expect(listed.stdout).not.toContain('\u001b')
  expect(listed.stdout).not.toContain('777777')
  const all = await sally('logins', '--state', 'all', '--json')
  expect((JSON.parse(all.stdout) as { items: unknown[] }).items).toHaveLength(2)
  const id = '0190aaaa-bbb1-7000-8000-000000000001'
  expect((await sally('logins', 'end', '0190aaaa')).code).toBe(2)
  const run = await sally('logins', 'end', '0190aaaa', '--reason', 'a lost laptop', '--json')
  expect(JSON.parse(run.stdout)).toEqual({ done: true, id })
  expect(ended).toEqual([{ id, reason: 'a lost laptop' }])
})

test('a proxy group says where it comes from, and is told', async () => {
  expect((await sally('proxy', 'group', 'default')).stdout).toContain('203.0.113.0/28')
  const changed = await sally(
    ...['proxy', 'group', 'default', '--ssh-from', '198.51.100.7', '2001:db8::/64', '--json'],
  )
  expect(JSON.parse(changed.stdout)).toMatchObject({
    sshSourceAddresses: ['198.51.100.7', '2001:db8::/64'],
  })
  const seen = await sally('proxy', 'group', 'default', '--ssh-from-seen')
  expect(seen.stdout).toContain('where control sees it')
  expect(from).toEqual([])
  expect((await sally('proxy', 'group', 'none')).code).toBe(4)
  const both = ['--ssh-from', '198.51.100.7', '--ssh-from-seen']
  expect((await sally('proxy', 'group', 'default', ...both)).code).toBe(2)
})
