import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ApiClient } from '../api/client.ts'
import type { Person } from '../api/shapes.ts'

/** A person by e-mail address. Rejects with `not-found`. */
export async function findPerson(api: ApiClient, email: string): Promise<Person> {
  const wanted = email.toLowerCase()
  let cursor: string | undefined
  do {
    const query = { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) }
    const page = await api.call('people', { query })
    const found = page.items.find((person) => person.email === wanted)
    if (found !== undefined) return found
    cursor = page.next === null || page.next === cursor ? undefined : page.next
  } while (cursor !== undefined)
  throw new SallyportError('not-found', `no person ${wanted}`, {
    clientMessage: `nobody here has the address ${JSON.stringify(email)}`,
    hint: `sally people list shows everybody; sally people add ${email} adds them`,
  })
}
