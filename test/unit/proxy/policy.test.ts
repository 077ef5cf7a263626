import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { InvalidInput } from '../../../control/api/problem.ts'
import { resource as resourceShape } from '../../../control/api/resource.ts'
import { writeSealedSecrets } from '../../../control/api/sealed-secrets.ts'
import { bindSecret } from '../../../proxy/policy/bind-secret.ts'
import { readPolicy } from '../../../proxy/policy/policy.ts'
import { createEnvStore } from '../../../proxy/secrets/env-store.ts'
import { fetchSecret } from '../../../proxy/secrets/fetch-secret.ts'
import { createSealedStore } from '../../../proxy/secrets/sealed-store.ts'

const directory = mkdtempSync(join(tmpdir(), 'policy-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

function policyOf(yaml: string) {
  const path = join(directory, 'policy.yaml')
  writeFileSync(path, yaml)
  return readPolicy(path)
}

function resourceWith(changes: object) {
  return resourceShape.parse({
    name: 'orders-db',
    protocol: 'postgres',
    address: { host: 'orders.internal', port: 5432 },
    tls: { mode: 'verify-full' },
    levels: { read: { account: 'reader', secret: 'sealed:orders-db/read' } },
    ...changes,
  })
}

const strict = `
secrets:
  - reference: "sealed:orders-db/*"
    addresses: ["orders.internal:5432"]
    levels: [read]
`

describe('the policy', () => {
  it('binds a secret to exactly its address, name, TLS mode and level', () => {
    const binding = bindSecret(policyOf(strict), resourceWith({}), 'read')
    expect(binding).toMatchObject({
      account: 'reader',
      reference: 'sealed:orders-db/read',
      upstream: { host: 'orders.internal', port: 5432, serverName: 'orders.internal' },
    })
    expect(binding.allowsPeer('203.0.113.9')).toBe(true)
  })

  it.each([
    ['another host', { address: { host: 'evil.internal', port: 5432 } }],
    ['another port', { address: { host: 'orders.internal', port: 5433 } }],
    ['a weaker TLS mode', { tls: { mode: 'require' } }],
    ['no TLS', { tls: { mode: 'disable' } }],
    ['another server name', { tls: { mode: 'verify-full', serverName: 'evil.internal' } }],
    [
      'another reference',
      { levels: { read: { account: 'reader', secret: 'sealed:payroll/read' } } },
    ],
    [
      'a deeper reference than one *',
      { levels: { read: { account: 'reader', secret: 'sealed:orders-db/a/b' } } },
    ],
    ['another store', { levels: { read: { account: 'r', secret: 'env:orders-db/read' } } }],
  ])('refuses %s', (_what, changes) => {
    expect(() => bindSecret(policyOf(strict), resourceWith(changes), 'read')).toThrow(
      expect.objectContaining({ code: 'secret-not-bound' }),
    )
  })

  it('refuses a level that the rule does not name', () => {
    const levels = { write: { account: 'writer', secret: 'sealed:orders-db/write' } }
    expect(() => bindSecret(policyOf(strict), resourceWith({ levels }), 'write')).toThrow(
      expect.objectContaining({ code: 'secret-not-bound' }),
    )
  })

  it('takes a stronger TLS mode than it asks for', () => {
    const policy = policyOf(strict.replace('levels:', 'tls: disable\n    levels:'))
    expect(bindSecret(policy, resourceWith({}), 'read').upstream.tls).toBe('verify-full')
  })

  it('binds networks: an address at once, a name by where it leads', () => {
    const policy = policyOf(`
secrets:
  - reference: "sealed:**"
    addresses: ["10.0.3.0/24:5432", "[fd00::]/8:5432"]
    serverName: orders.internal
`)
    const at = (host: string) =>
      resourceWith({
        address: { host, port: 5432 },
        tls: { mode: 'verify-full', serverName: 'orders.internal' },
      })
    const bind = (host: string) => bindSecret(policy, at(host), 'read')
    expect(bind('10.0.3.7').upstream.host).toBe('10.0.3.7')
    expect(() => bind('10.0.4.7')).toThrow()
    expect(bind('orders.internal').allowsPeer('10.0.3.9')).toBe(true)
    expect(bind('orders.internal').allowsPeer('10.0.4.9')).toBe(false)
    expect(bind('orders.internal').allowsPeer('fd00::1')).toBe(true)
    expect(bind('orders.internal').allowsPeer('')).toBe(false)
  })

  it('binds nothing when there is nothing in it', () => {
    expect(() => bindSecret(policyOf('secrets: []'), resourceWith({}), 'read')).toThrow(
      expect.objectContaining({ code: 'secret-not-bound' }),
    )
  })

  it.each([
    ['secrets:\n  - reference: "x"\n    addresses: ["a:1"]\n', 2, 16],
    ['secrets:\n  - reference: "env:A"\n    addresses: ["a"]\n', 3, 17],
    ['secrets:\n  - reference: "env:A"\n    addresses: ["10.0.0.0/33:1"]\n', 3, 17],
    ['secrets:\n  - reference: "env:A"\n    addresses: ["a:1"]\n    tsl: disable\n', 2, 5],
    ['secrets: [\n', 2, 1],
    ['secrets:\n  - reference: "env:A"\n    addresses: ["a:1"]\n    caFile: missing.pem\n', 0, 0],
  ])('names the place of a mistake: %j', (yaml, line, column) => {
    try {
      policyOf(yaml)
      throw new Error('was taken')
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidInput)
      const [issue] = (error as InvalidInput).issues
      if (line > 0) expect([issue?.line, issue?.column]).toEqual([line, column])
      else expect(issue?.path).toBe('secrets.0.caFile')
    }
  })
})

describe('the stores', () => {
  const signal = new AbortController().signal
  const file = join(directory, 'secrets.sealed')
  const keyFile = join(directory, 'secrets.key')
  const stores = [createEnvStore({ ORDERS: 'from env' }), createSealedStore(file, keyFile)]

  it('give what is set, anew each time', async () => {
    writeSealedSecrets(file, keyFile, new Map([['orders-db/read', 'one']]))
    expect((await fetchSecret(stores, 'sealed:orders-db/read', signal)).reveal()).toBe('one')
    writeSealedSecrets(file, keyFile, new Map([['orders-db/read', 'two']]))
    expect((await fetchSecret(stores, 'sealed:orders-db/read', signal)).reveal()).toBe('two')
    expect((await fetchSecret(stores, 'env:ORDERS', signal)).reveal()).toBe('from env')
  })

  it.each(['sealed:nothing', 'env:NOTHING', 'vault:any', 'sealed:__proto__'])(
    'say that %s is unavailable, and never what others hold',
    async (reference) => {
      await expect(fetchSecret(stores, reference, signal)).rejects.toMatchObject({
        code: 'secret-unavailable',
        clientMessage: 'the proxy cannot get the credential of this resource',
      })
    },
  )

  it('fetch nothing once the session was cut', async () => {
    await expect(
      fetchSecret(stores, 'env:ORDERS', AbortSignal.abort(new Error('cut'))),
    ).rejects.toMatchObject({ code: 'secret-unavailable' })
  })
})
