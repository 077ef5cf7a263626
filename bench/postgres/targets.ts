import type { ClientConfig } from 'pg'
import type { Cluster } from '../../deploy/postgres/cluster.ts'
import { accountOf, stackDatabase, stackDomain, stackResource } from '../../test/stack.ts'
import type { Stack, StackPerson } from '../../test/stack.ts'
import type { Pgbouncer } from './pgbouncer.ts'

export const targetNames = ['direct', 'pgbouncer', 'sallyport'] as const
export type TargetName = (typeof targetNames)[number]

/** One way to the same PostgreSQL: same TLS version, same kinds of keys, names verified. */
export interface Target {
  readonly name: TargetName
  /** For programs of libpq. */
  readonly environment: NodeJS.ProcessEnv
  /** For the `pg` library. */
  readonly client: ClientConfig
  /** Process in the middle; undefined where there is none. */
  pid(): number | undefined
}

const host = '127.0.0.1'
const account = accountOf('read')

export function directTarget(cluster: Cluster, password: string, caFile: string): Target {
  return {
    name: 'direct',
    environment: libpq(cluster.serverName, cluster.port, password, caFile),
    client: library(cluster.serverName, cluster.port, password, cluster.authorityPem),
    pid: () => undefined,
  }
}

export function pgbouncerTarget(pgbouncer: Pgbouncer, password: string, caFile: string): Target {
  const { serverName, port, authorityPem } = pgbouncer
  return {
    name: 'pgbouncer',
    environment: libpq(serverName, port, password, caFile),
    client: library(serverName, port, password, authorityPem),
    pid: () => pgbouncer.pid(),
  }
}

export function sallyportTarget(stack: Stack, person: StackPerson, caPem: string): Target {
  return {
    name: 'sallyport',
    environment: { ...person.psqlEnvironment(), PGGSSENCMODE: 'disable' },
    client: clientOf(stack, person, caPem),
    pid: () => stack.pid('proxy'),
  }
}

/** A person's connection through the proxy, for the `pg` library. */
export function clientOf(stack: Stack, person: StackPerson, caPem: string): ClientConfig {
  return {
    host,
    port: stack.proxyPort,
    user: 'bench',
    database: stackDatabase,
    ssl: {
      ca: caPem,
      servername: `${stackResource}.${stackDomain}`,
      cert: person.certificatePem,
      key: person.keyPem,
    },
  }
}

function libpq(
  serverName: string,
  port: number,
  password: string,
  caFile: string,
): NodeJS.ProcessEnv {
  return {
    PGHOST: serverName,
    PGHOSTADDR: host,
    PGPORT: String(port),
    PGDATABASE: stackDatabase,
    PGUSER: account,
    PGPASSWORD: password,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: caFile,
    PGGSSENCMODE: 'disable',
  }
}

function library(serverName: string, port: number, password: string, ca: string): ClientConfig {
  return {
    host,
    port,
    user: account,
    password,
    database: stackDatabase,
    ssl: { ca, servername: serverName },
  }
}
