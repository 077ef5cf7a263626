import { SallyportError } from '../../protocols/kit/errors.ts'
import { retentionClass } from '../api/names.ts'
import type { Sql } from '../store/store.ts'

/** For sessions whose class is not known, and for classes without days of their own. */
export const defaultClass = 'standard'
export const quarantineClass = 'quarantine'
/** Classes of a realm, those included that only a resource names. */
export const classesMax = 64
export const defaultDays = 365

/**
 * Says how long payloads of a class are kept after their session ended. Takes effect for what is stored already. Rejects
 * with `request-invalid`.
 */
export async function setRetentionClass(
  sql: Sql,
  realm: string,
  name: string,
  days: number,
): Promise<void> {
  if (!retentionClass.safeParse(name).success || !Number.isInteger(days) || days < 1) {
    throw new SallyportError('request-invalid', `retention class ${name} of ${days} days`, {
      clientMessage: 'a retention class has a name of a-z, 0-9 and "-", and at least one day',
    })
  }
  await sql.query(
    `insert into retention_classes (realm, name, days) values ($1, $2, $3)
     on conflict (realm, name) do update set days = excluded.days`,
    [realm, name, Math.min(days, 36_500)],
  )
}
