/** Applies migrations in the order of their names; a changed history is refused. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { takeLock } from './advisory-lock.ts'
import type { Store } from './store.ts'

export interface Migration {
  readonly name: string
  readonly text: string
}

/** The migrations of a schema, from `migrations/<schema>/NNNN-name.sql`. */
export function readMigrations(schema: string): Migration[] {
  const directory = new URL(`./migrations/${schema}/`, import.meta.url)
  return readdirSync(directory)
    .filter((name) => /^\d{4}-[a-z0-9-]+\.sql$/.test(name))
    .sort()
    .map((name) => ({ name, text: readFileSync(new URL(name, directory), 'utf8') }))
}

/**
 * Applies what is missing, all in one transaction. Rejects with `config-invalid` when an applied migration was changed,
 * or the database knows one that this version does not (an older control on a newer database).
 */
export async function migrate(
  store: Store,
  schema: string,
  migrations: readonly Migration[] = readMigrations(schema),
): Promise<void> {
  await store.transaction(async (sql) => {
    // Replicas that start together migrate one after the other.
    await takeLock(sql, 'migrations', '')
    await sql.query(
      `create schema if not exists ${schema};
       create table if not exists ${schema}.schema_migrations (
         name text primary key,
         checksum text not null,
         applied_at timestamptz not null default now()
       )`,
    )
    const applied = await sql.query<{ name: string; checksum: string }>(
      'select name, checksum from schema_migrations order by name',
    )
    const known = new Map(migrations.map((migration) => [migration.name, migration]))
    for (const { name, checksum } of applied) {
      const migration = known.get(name)
      if (migration === undefined) throw refusal(schema, name, 'is not known to this version')
      if (checksumOf(migration) !== checksum) throw refusal(schema, name, 'was changed afterwards')
    }
    const done = new Set(applied.map((row) => row.name))
    for (const migration of migrations) {
      if (done.has(migration.name)) continue
      await sql.query(migration.text)
      await sql.query('insert into schema_migrations (name, checksum) values ($1, $2)', [
        migration.name,
        checksumOf(migration),
      ])
    }
  })
}

function checksumOf(migration: Migration): string {
  return createHash('sha256').update(migration.text).digest('hex')
}

function refusal(schema: string, name: string, what: string): SallyportError {
  const message = `migration ${schema}/${name} was applied to this database, and ${what}`
  return new SallyportError('config-invalid', message, {
    clientMessage: message,
    hint: 'start the version of control that made this database, or a newer one',
  })
}
