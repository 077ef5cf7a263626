import type { Flow } from '../api/flow.ts'
import type { Control } from '../control.ts'
import type { Sql } from '../store/store.ts'

/** The flows in force. Version 0: none were ever applied. */
export interface FlowsInForce {
  readonly version: number
  readonly author: string | null
  readonly appliedAtMs: number | null
  /** In the order of the file, which decides ties. */
  readonly flows: readonly Flow[]
}

/** `hold`: no other version comes into force before the transaction ends. */
export async function readFlows(
  sql: Sql,
  { realm }: Pick<Control, 'realm'>,
  { hold = false }: { hold?: boolean } = {},
): Promise<FlowsInForce> {
  const [head] = await sql.query<{ version: number }>(
    `select flows_version as version from realms where realm = $1 ${hold ? 'for share' : ''}`,
    [realm],
  )
  const [row] = await sql.query<FlowsInForce>(
    `select version, author, applied_at_ms as "appliedAtMs", flows
     from flows_versions where realm = $1 and version = $2`,
    [realm, head!.version],
  )
  return row ?? { version: 0, author: null, appliedAtMs: null, flows: [] }
}
