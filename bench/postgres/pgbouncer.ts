/** pgbouncer as its operators run it for session pooling, with the same TLS as ours on both sides. */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import type { Supervisor } from '../../deploy/supervisor.ts'
import { postgresAccount } from '../../deploy/postgres/account.ts'
import type { Cluster } from '../../deploy/postgres/cluster.ts'
import { createServerCertificate } from '../../deploy/postgres/server-certificate.ts'
import { createPortProbe } from '../port-probe.ts'

export interface Pgbouncer {
  readonly port: number
  readonly serverName: string
  readonly authorityPem: string
  pid(): number
}

export const pgbouncerProgram = existsSync('/usr/sbin/pgbouncer')
  ? '/usr/sbin/pgbouncer'
  : 'pgbouncer'

export async function startPgbouncer(options: {
  directory: string
  cluster: Cluster
  port: number
  account: { name: string; password: string }
  database: string
  supervisor: Supervisor
  clock: Clock
}): Promise<Pgbouncer> {
  const { directory, cluster, port, account, database, supervisor, clock } = options
  const serverName = 'pgbouncer.internal'
  const certificate = await createServerCertificate([serverName], clock)
  const owner = postgresAccount()
  mkdirSync(directory, { mode: 0o711 })
  chmodSync(directory, 0o711)
  const write = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid)
    return path
  }
  const users = write('users.txt', `"${account.name}" "${account.password}"\n`)
  const configuration = write(
    'pgbouncer.ini',
    `[databases]
${database} = host=localhost port=${cluster.port} dbname=${database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
pool_mode = session
default_pool_size = 1200
max_client_conn = 1200
auth_type = scram-sha-256
auth_file = ${users}
client_tls_sslmode = require
client_tls_protocols = tlsv1.3
client_tls_cert_file = ${write('server.crt', certificate.certificatePem)}
client_tls_key_file = ${write('server.key', certificate.privateKeyPem)}
server_tls_sslmode = verify-full
server_tls_protocols = tlsv1.3
server_tls_ca_file = ${write('upstream-ca.pem', cluster.authorityPem)}
ignore_startup_parameters = extra_float_digits
# Otherwise the sessions of one benchmark stay open at the server during the next.
server_idle_timeout = 3
log_connections = 0
log_disconnections = 0
`,
  )
  const probe = createPortProbe(port)
  await supervisor.start({
    name: 'pgbouncer',
    command: [
      ...[process.execPath, join(import.meta.dirname, '..', '..', 'deploy', 'guard.ts')],
      ...[String(owner?.uid ?? 0), String(owner?.gid ?? 0), 'SIGINT'],
      ...[pgbouncerProgram, configuration],
    ],
    logFile: join(directory, '..', 'pgbouncer.log'),
    ready: probe,
    stopMs: 10_000,
  })
  await sleep(clock, 100)
  const pid = childOf(supervisor.pid('pgbouncer')!)
  return { port, serverName, authorityPem: certificate.authorityPem, pid: () => pid }
}

/** The guard's one child (proc(5)). */
function childOf(pid: number): number {
  const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
  if (!(child > 0)) throw new Error(`process ${pid} has no child`)
  return child
}
