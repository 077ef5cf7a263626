import { resourceName } from '../../control/api/names.ts'

/**
 * The resource that a host name (`orders-db.access.example.com`) or a bare name means; undefined for anything that cannot
 * name one here.
 */
export function resourceNameOf(called: string, domain: string): string | undefined {
  const lower = called.toLowerCase()
  const suffix = `.${domain.toLowerCase()}`
  const name = lower.endsWith(suffix) ? lower.slice(0, -suffix.length) : lower
  return resourceName.safeParse(name).success ? name : undefined
}
