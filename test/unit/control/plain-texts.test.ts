import { expect, test } from 'vitest'
import { reason } from '../../../control/api/names.ts'
import { resource } from '../../../control/api/resource.ts'
import { personCreate } from '../../../control/api/shapes.ts'
import { startupPacket } from '../../../protocols/postgres/wire/startup.ts'

const definition = {
  name: 'orders-db',
  protocol: 'postgres',
  address: { host: 'db.internal', port: 5432 },
  levels: { read: { account: 'reader', secret: 'env:READER' } },
}

// A zero byte in an account would begin another start-up parameter at the resource.
test('a resource has no control characters where they would be read as something else', () => {
  expect(resource.safeParse(definition).success).toBe(true)
  const account = 'reader\0replication\0database'
  const hostile = [
    { ...definition, levels: { read: { account, secret: 'env:READER' } } },
    { ...definition, address: { host: 'db\0.internal', port: 5432 } },
    { ...definition, tls: { serverName: 'db\n' } },
    { ...definition, tags: { 'a\0': 'b' } },
    { ...definition, owner: 'me\r\n' },
    { ...definition, description: '\0' },
  ]
  for (const each of hostile) expect(resource.safeParse(each).success).toBe(false)
  expect(resource.safeParse({ ...definition, description: 'two\nlines' }).success).toBe(true)
  expect(() => startupPacket(new Map([['user', account]]))).toThrow('zero bytes')
})

test('texts of people hold no zero byte: the store would not take it', () => {
  expect(reason.safeParse('a\nb').success).toBe(true)
  expect(reason.safeParse('a\0b').success).toBe(false)
  expect(personCreate.safeParse({ email: 'a@b.cc', name: 'a\0b' }).success).toBe(false)
})
