import type { Control } from '../control.ts'

/** Keeps what a proxy says of itself, for whoever looks at the proxies; what it does not say any more is over. */
export async function noteWarnings(
  { state, realm }: Pick<Control, 'state' | 'realm'>,
  proxyId: string,
  warnings: readonly string[],
): Promise<void> {
  await state.query(
    `update proxies set warnings = $3::text[]
     where realm = $1 and id = $2 and warnings is distinct from $3::text[]`,
    [realm, proxyId, [...warnings]],
  )
}
