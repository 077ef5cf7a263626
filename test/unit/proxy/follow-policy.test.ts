/** What a new policy means to what is open, and a broken one to everything. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Log } from '../../../protocols/engine.ts'
import { openPolicy } from '../../../proxy/policy/open-policy.ts'
import { readPolicy, type Policy } from '../../../proxy/policy/policy.ts'
import {
  advanceUntil,
  anywhere,
  createProxyWorld,
  turns,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'

let world: ProxyWorld
beforeEach(async () => {
  world = await createProxyWorld()
})
afterEach(() => world.close())

const [rule] = anywhere.secrets
const here = [{ host: '127.0.0.1', port: 5432 }]
const changed = (changes: Partial<NonNullable<typeof rule>>): Policy => ({
  secrets: [{ ...rule!, ...changes }],
})

describe('a live session', () => {
  it.each<[string, Policy]>([
    ['the same', anywhere],
    ['more', changed({ addresses: [...here, { host: 'other.test', port: 1 }] })],
    ['its account by name', changed({ accounts: ['reader'] })],
    ['it by another rule', { secrets: [...changed({ levels: ['write'] }).secrets, rule!] }],
  ])('goes on where the new policy binds %s', async (_, next) => {
    const { session } = await world.openSession()
    world.changePolicy(next)
    await turns()
    expect(session.signal.aborted).toBe(false)
  })

  it.each<[string, Policy]>([
    ['nothing', { secrets: [] }],
    ['its secret elsewhere', changed({ addresses: [{ host: 'other.test', port: 5432 }] })],
    ['its secret at another level', changed({ levels: ['write'] })],
    ['another account', changed({ accounts: ['writer'] })],
    ['its secret over verified TLS alone', changed({ tls: 'verify-full' })],
    ['its secret to an app', changed({ credential: { kind: 'bearer' } })],
    ['its server by another authority', changed({ caPem: 'another' })],
  ])('is cut where the new policy binds %s, and the next is refused', async (_, next) => {
    const { session } = await world.openSession()
    world.changePolicy(next)
    await turns()
    expect(session.signal.reason).toMatchObject({
      reason: 'resource-removed',
      message: expect.stringContaining("the proxy's policy changed") as string,
    })
    if (next.secrets[0]?.caPem !== undefined) return
    const refused = world.openSession().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(await advanceUntil(world, refused)).toMatchObject({ code: 'secret-not-bound' })
  })
})

describe('who is on the way in while the policy changes', () => {
  const nothing: Policy = { secrets: [] }
  const refusal = (admission: Promise<unknown>) =>
    admission.then(
      () => 'let in',
      (error: unknown) => error,
    )

  it('is refused by the new one where control has not answered yet', async () => {
    const token = await world.grantToken()
    await world.feed({ kind: 'grant', token })
    let answer: (() => void) | undefined
    world.control.answer = () =>
      new Promise((resolve) => {
        answer = () => resolve({ kind: 'confirmed', token, position: world.view.position })
      })
    const refused = refusal(world.admit())
    await turns()
    world.changePolicy(nothing)
    answer!()
    expect(await advanceUntil(world, refused)).toMatchObject({ code: 'secret-not-bound' })
  })

  it('is cut by the new one where the feed is waited for', async () => {
    const token = await world.grantToken()
    world.control.answer = () =>
      Promise.resolve({ kind: 'confirmed', token, position: world.view.position + 1 })
    const refused = refusal(world.admit())
    await expect.poll(() => world.registry.size).toBe(1)
    world.changePolicy(nothing)
    await world.feed()
    expect(await advanceUntil(world, refused)).toMatchObject({
      message: expect.stringContaining("the proxy's policy changed") as string,
    })
    expect(world.spool.events.map(({ type }) => type)).not.toContain('session-opened')
  })
})

describe('a policy file that is read again', () => {
  const file = (): string => join(world.directory, 'policy.yaml')
  const rules = (references: string[]): string =>
    `secrets:\n${references.map((each) => `  - reference: "${each}"\n    addresses: ["a:1"]\n`).join('')}`
  function open() {
    const said: string[] = []
    const say = (fields: object, message: string): void =>
      void said.push(`${message} ${JSON.stringify(fields)}`)
    const log: Log = { debug: say, info: say, warn: say, error: say }
    const policy = openPolicy(file(), log)
    let changes = 0
    policy.onChange(() => (changes += 1))
    const references = (): string[] => policy.current.secrets.map(({ reference }) => reference)
    return { policy, said, references, changes: () => changes }
  }

  it('counts at once, as a whole', () => {
    writeFileSync(file(), rules(['env:A']))
    const { policy, references, changes } = open()
    writeFileSync(file(), rules(['env:B', 'env:C']))
    expect(references()).toEqual(['env:A'])
    policy.reload()
    expect(references()).toEqual(['env:B', 'env:C'])
    expect([policy.taken, policy.failed, policy.isBehind, changes()]).toEqual([1, 0, false, 1])
  })

  it.each([
    ['is no YAML', 'secrets: [\n', /policy\.yaml:2:1/],
    ['names a place that is none', `${rules(['env:B'])}  - reference: "x"\n`, /policy\.yaml:4:16/],
    ['names a file that is not there', `${rules(['env:B'])}    caFile: no.pem\n`, /no\.pem/],
  ])('changes nothing where it %s, and says where', (_, text, place) => {
    writeFileSync(file(), rules(['env:A']))
    const { policy, said, references, changes } = open()
    writeFileSync(file(), text)
    expect(() => readPolicy(file())).toThrow(place)
    policy.reload()
    expect(references()).toEqual(['env:A'])
    expect([policy.taken, policy.failed, policy.isBehind, changes()]).toEqual([0, 1, true, 0])
    expect(said.at(-1)).toMatch(place)
    expect(policy.shortcoming).toMatch(/the policy from before counts/)
    writeFileSync(file(), rules(['env:B']))
    policy.reload()
    expect(references()).toEqual(['env:B'])
    expect([policy.taken, policy.failed, policy.isBehind, changes()]).toEqual([1, 1, false, 1])
    expect(policy.shortcoming).toBeUndefined()
  })

  // An editor, a copy or a template empties a file before it writes it.
  it('changes nothing where it is gone or empty, and everything where it says that it binds nothing', () => {
    writeFileSync(file(), rules(['env:A']))
    const { policy, said, references, changes } = open()
    rmSync(file())
    policy.reload()
    expect(said.at(-1)).toMatch(/config-invalid.*no such file/)
    for (const blank of ['', '\n \n', '# of proxy 1\n', '---\n', 'secrets:\n']) {
      writeFileSync(file(), blank)
      policy.reload()
      expect(said.at(-1)).toMatch(
        /config-invalid.*policy\.yaml.*must be a list of rules; .*secrets: \[\]/,
      )
    }
    expect([references(), policy.failed, policy.isBehind, changes()]).toEqual([
      ...[['env:A'], 6, true, 0],
    ])
    writeFileSync(file(), 'secrets: []\n')
    policy.reload()
    expect(references()).toEqual([])
    expect(said.at(-1)).toMatch(/binds no secret/)
  })

  it.each([
    ['not there', undefined],
    ['empty', ''],
  ])('binds nothing at the start where it is %s', (_, text) => {
    if (text !== undefined) writeFileSync(file(), text)
    const { said, references } = open()
    expect(references()).toEqual([])
    expect(said).toEqual([expect.stringMatching(/binds no secret/)])
  })
})
