import type { Control } from '../control.ts'

/** Whether there is such a login, and of this person; undefined: of anybody. It is theirs for good. */
export async function isLoginOf(
  { realm, state }: Pick<Control, 'realm' | 'state'>,
  loginId: string,
  ownerId: string | undefined,
): Promise<boolean> {
  const found = await state.query(
    `select id from logins
     where realm = $1 and id = $2 and ($3::uuid is null or person_id = $3)`,
    [realm, loginId, ownerId ?? null],
  )
  return found.length > 0
}
