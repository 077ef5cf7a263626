import { join } from 'node:path'
import { createKeyAndRequest } from '../../certs/request.ts'
import type { ApiClient } from '../../control/api/client.ts'
import type { Role } from '../../control/api/names.ts'
import type { Person } from '../../control/api/shapes.ts'
import type { HomeConfig } from '../../control/cli/home.ts'
import { writeHome } from '../../control/cli/write-home.ts'

export const adminEmail = 'admin@example.test'
export const adminGroups = ['leads']

export const demoPeople: readonly {
  email: string
  name: string
  roles: Role[]
  groups: string[]
}[] = [
  { email: 'dev@example.test', name: 'Dana Developer', roles: ['engineer'], groups: ['engineers'] },
  {
    email: 'oncall@example.test',
    name: 'Omar Oncall',
    roles: ['engineer'],
    groups: ['engineers', 'oncall'],
  },
  {
    email: 'lead@example.test',
    name: 'Lea Lead',
    roles: ['engineer'],
    groups: ['engineers', 'leads'],
  },
  { email: adminEmail, name: 'Ada Admin', roles: ['admin'], groups: adminGroups },
  { email: 'auditor@example.test', name: 'Aude Auditor', roles: ['auditor'], groups: [] },
]

/** One who is signed in: `home` is their SALLY_HOME. */
export interface DemoPerson {
  readonly email: string
  readonly home: string
}

/** Adds who is missing, and gives everybody a fresh certificate in a home of their own. */
export async function signPeopleIn(
  api: ApiClient,
  homesDirectory: string,
  config: HomeConfig,
): Promise<readonly DemoPerson[]> {
  const known = await everybody(api)
  const signedIn: DemoPerson[] = []
  for (const { email, name, roles, groups } of demoPeople) {
    const person =
      known.get(email) ?? (await api.call('personCreate', { body: { email, name, roles, groups } }))
    const home = join(homesDirectory, email.split('@')[0]!)
    const { privateKeyPem, requestPem } = await createKeyAndRequest()
    const issued = await api.call('certificateIssue', {
      params: { id: person.id },
      body: { requestPem },
    })
    writeHome(home, { ...config, email }, privateKeyPem, issued)
    signedIn.push({ email, home })
  }
  return signedIn
}

async function everybody(api: ApiClient): Promise<Map<string, Person>> {
  const found = new Map<string, Person>()
  let cursor: string | undefined
  do {
    const page = await api.call('people', {
      query: { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) },
    })
    for (const person of page.items) found.set(person.email, person)
    cursor = page.next ?? undefined
  } while (cursor !== undefined)
  return found
}
