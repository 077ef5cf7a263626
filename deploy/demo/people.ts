import { join } from 'node:path'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { Role } from '../../control/api/names.ts'
import type { Person } from '../../control/api/shapes.ts'
import { createHomeKeys, type HomeKeys } from '../../control/cli/home-keys.ts'
import type { HomeConfig } from '../../control/cli/home.ts'
import { writeHome } from '../../control/cli/write-home.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { signInAt } from './browser.ts'
import type { PreparedIdentityProvider } from './identity-files.ts'

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

export interface PeoplePlace {
  readonly homesDirectory: string
  /** Of any home at this control. */
  readonly config: HomeConfig
  readonly controlAuthorityPem: string
  readonly provider: Pick<PreparedIdentityProvider, 'accounts' | 'authorityPem'>
  readonly announce: (line: string) => void
}

/** Nothing listens there: the browser is this process, and sees where it is sent. */
const redirectUri = 'http://127.0.0.1:61234/callback'

/** Adds who is missing, and signs everybody in at the identity provider, as they would themselves, each in a home of their own. */
export async function signPeopleIn(
  api: ApiClient,
  place: PeoplePlace,
): Promise<readonly DemoPerson[]> {
  const known = await everybody(api)
  for (const { email, name, roles, groups } of demoPeople) {
    if (known.has(email)) continue
    known.set(email, await api.call('personCreate', { body: { email, name, roles, groups } }))
  }
  const { config, controlAuthorityPem: authorityPem } = place
  const anyone = createApiClient({ baseUrl: config.controlUrl, authorityPem })
  try {
    return await Promise.all(
      demoPeople.map(async ({ email }) => {
        const home = join(place.homesDirectory, email.split('@')[0]!)
        const keys = await createHomeKeys()
        const certificate = await signIn(anyone, place, email, keys.ask).catch((error: unknown) => {
          if (!(error instanceof SallyportError) || error.code !== 'sign-in-refused') throw error
          place.announce(
            `${email} has a certificate and no sign-in, so decides nothing: ${error.message}`,
          )
          const params = { id: known.get(email)!.id }
          return api.call('certificateIssue', { params, body: keys.ask })
        })
        writeHome(home, { ...config, email }, keys, certificate)
        return { email, home }
      }),
    )
  } finally {
    anyone.close()
  }
}

async function signIn(
  anyone: ApiClient,
  { provider }: PeoplePlace,
  email: string,
  ask: HomeKeys['ask'],
) {
  const begun = await anyone.call('loginCode', { body: { ...ask, redirectUri } })
  const account = provider.accounts.find((one) => one.email === email)!
  const page = await signInAt(provider.authorityPem, begun.authorizationUrl, account)
  const arrived = new URL(page.url).searchParams
  const [code, state, iss] = ['code', 'state', 'iss'].map((name) => arrived.get(name))
  const { certificate } = await anyone.call('loginCodeFinish', {
    params: { id: begun.id },
    body: { secret: begun.secret, code: code ?? '', state: state ?? '', ...(iss ? { iss } : {}) },
  })
  return certificate
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
