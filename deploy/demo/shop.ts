import { randomBytes } from 'node:crypto'
import type { Client } from 'pg'
import type { Level } from '../../protocols/session.ts'
import type { Cluster } from '../postgres/cluster.ts'
import { rowsSql, schemaSql } from './shop-sql.ts'

export const shopDatabase = 'shop'
/** The account behind each level; what it may do is the hard boundary of the level. */
export const accounts = {
  read: 'orders_read',
  write: 'orders_write',
  delete: 'orders_delete',
  admin: 'orders_admin',
} as const satisfies Record<Level, string>

/** What a level may do beyond the one before it. Admin owns the tables. */
const rights = {
  read: 'select',
  write: 'select, insert, update',
  delete: 'select, insert, update, delete',
} as const

/** Makes the shop if it is not there, and gives every account a new random password: nobody else ever sees them. */
export async function openShop(cluster: Cluster): Promise<ReadonlyMap<Level, string>> {
  const server = await cluster.superuser()
  const passwords = new Map<Level, string>()
  try {
    for (const level of Object.keys(accounts) as Level[]) {
      const password = randomBytes(24).toString('base64url')
      passwords.set(level, password)
      await giveAccount(server, accounts[level], password)
    }
    const { rowCount } = await server.query('select from pg_database where datname = $1', [
      shopDatabase,
    ])
    if (rowCount === 0) {
      await server.query(`create database ${shopDatabase} owner ${accounts.admin}`)
    }
  } finally {
    await server.end()
  }
  const shop = await cluster.superuser(shopDatabase)
  try {
    const { rows } = await shop.query<{ there: boolean }>(
      `select to_regclass('public.payments') is not null as there`,
    )
    if (!rows[0]!.there) await fillShop(shop)
  } finally {
    await shop.end()
  }
  return passwords
}

async function giveAccount(client: Client, account: string, password: string): Promise<void> {
  const { rowCount } = await client.query('select from pg_roles where rolname = $1', [account])
  const verb = rowCount === 0 ? 'create' : 'alter'
  await client.query(`${verb} role ${account} login password ${client.escapeLiteral(password)}`)
}

async function fillShop(client: Client): Promise<void> {
  const grants = Object.entries(rights).flatMap(([level, words]) => {
    const account = accounts[level as keyof typeof rights]
    const sequences = level === 'read' ? 'select' : 'usage, select'
    return [
      `grant connect on database ${shopDatabase} to ${account}`,
      `grant usage on schema public to ${account}`,
      `grant ${words} on all tables in schema public to ${account}`,
      `grant ${sequences} on all sequences in schema public to ${account}`,
      `alter default privileges in schema public grant ${words} on tables to ${account}`,
      `alter default privileges in schema public grant ${sequences} on sequences to ${account}`,
    ]
  })
  await client.query('begin')
  await client.query(`alter schema public owner to ${accounts.admin}`)
  await client.query(`revoke all on database ${shopDatabase} from public`)
  await client.query(`set local role ${accounts.admin}`)
  await client.query(schemaSql)
  await client.query(rowsSql)
  for (const grant of grants) await client.query(grant)
  await client.query('commit')
  await client.query('vacuum analyze')
}
