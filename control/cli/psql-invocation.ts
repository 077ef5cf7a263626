/**
 * How psql (and every other program of libpq) is told where to go: by environment variables, so that arguments of
 * the caller (`-d shop`, `-f file`) still mean what they always mean. Names as in the PostgreSQL manual, section 34.15.
 */
import { isIP } from 'node:net'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Home } from './home.ts'

export interface PsqlTarget {
  readonly resource: string
  /** As control knows it; else made of the resource and the home's domain. */
  readonly hostname?: string | undefined
  readonly level?: string | undefined
  readonly database?: string | undefined
}

/** Inherited variables that would lead elsewhere, or undo what is set here. */
export const variablesRemoved: readonly string[] = [
  'PGHOST',
  'PGHOSTADDR',
  'PGPORT',
  'PGDATABASE',
  'PGUSER',
  'PGPASSWORD',
  'PGPASSFILE',
  // A service file goes before the environment, so it would win.
  'PGSERVICE',
  'PGREQUIRESSL',
  'PGREQUIREAUTH',
  'PGREQUIREPEER',
  'PGCHANNELBINDING',
  'PGSSLMODE',
  'PGSSLNEGOTIATION',
  'PGSSLCOMPRESSION',
  'PGSSLCERT',
  'PGSSLCERTMODE',
  'PGSSLKEY',
  'PGSSLROOTCERT',
  'PGSSLCRL',
  'PGSSLCRLDIR',
  'PGSSLSNI',
  'PGGSSENCMODE',
  'PGTARGETSESSIONATTRS',
  'PGLOADBALANCEHOSTS',
]

export function psqlEnvironment(home: Home, target: PsqlTarget): Record<string, string> {
  const { config, files } = home
  const port = config.proxyPorts.postgres
  if (port === undefined) {
    throw new SallyportError('config-invalid', 'proxyPorts.postgres is not set', {
      clientMessage: `${files.config} does not say which port the proxy has for postgres`,
      hint: `add to it: "proxyPorts": {"postgres": 5432}`,
    })
  }
  return {
    // The name goes into SNI and is what the certificate is checked against.
    PGHOST: target.hostname ?? `${target.resource}.${config.domain}`,
    // With an address nothing needs to resolve.
    ...(config.proxyHost !== undefined && isIP(config.proxyHost) > 0
      ? { PGHOSTADDR: config.proxyHost }
      : {}),
    PGPORT: String(port),
    PGDATABASE: target.database ?? 'postgres',
    PGUSER: `${target.level ?? ''}~${target.resource}`,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: files.serverAuthorities,
    PGSSLCERT: files.certificate,
    PGSSLKEY: files.key,
    PGGSSENCMODE: 'disable',
  }
}
