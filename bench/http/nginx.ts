/** nginx twice: as the app, which answers out of memory, and as the reverse proxy that we are measured against, one worker each. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServerCertificate } from '../../deploy/postgres/server-certificate.ts'
import { freePort } from '../../deploy/ports.ts'
import type { Supervisor } from '../../deploy/supervisor.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { createPortProbe } from '../port-probe.ts'

export const nginxProgram = '/usr/sbin/nginx'
const serverName = 'nginx.internal'
/** What a request is answered with. */
const answer = `{"answer":"${'x'.repeat(1_000)}"}`

export interface Nginx {
  /** Without TLS: what the proxies go to. */
  readonly appPort: number
  /** The same app, with TLS. */
  readonly directPort: number
  readonly proxyPort: number
  readonly hostname: string
  readonly authorityPem: string
  /** Of the reverse proxy's one worker. */
  pid(): number
}

export async function startNginx(options: {
  readonly directory: string
  /** An app of WebSockets, below /socket. */
  readonly socketPort: number
  readonly supervisor: Supervisor
  readonly clock: Clock
}): Promise<Nginx> {
  const { directory, socketPort, supervisor, clock } = options
  const certificate = await createServerCertificate([serverName], clock)
  const [appPort, directPort, proxyPort] = [await freePort(), await freePort(), await freePort()]
  const tls = (at: string): string => {
    writeFileSync(join(at, 'server.crt'), certificate.certificatePem)
    writeFileSync(join(at, 'server.key'), certificate.privateKeyPem, { mode: 0o600 })
    return `ssl_certificate ${at}/server.crt; ssl_certificate_key ${at}/server.key; ssl_protocols TLSv1.3;`
  }
  const start = async (name: string, port: number, body: (at: string) => string): Promise<void> => {
    const at = join(directory, name)
    mkdirSync(at, { recursive: true })
    const file = join(at, 'nginx.conf')
    writeFileSync(file, configuration(at, body(at)))
    await supervisor.start({
      name,
      command: [nginxProgram, '-p', at, '-c', file, '-e', join(at, 'error.log')],
      logFile: join(at, 'nginx.log'),
      ready: createPortProbe(port),
      stopMs: 5_000,
    })
  }
  await start(
    'app',
    appPort,
    (at) => `server { listen 127.0.0.1:${appPort}; listen 127.0.0.1:${directPort} ssl; ${tls(at)}
    keepalive_requests 100000000; default_type application/json;
    location / { return 200 '${answer}'; } location /socket { ${forwardTo(`127.0.0.1:${socketPort}`)} } }`,
  )
  await start(
    'proxy',
    proxyPort,
    (
      at,
    ) => `upstream app { server 127.0.0.1:${appPort}; keepalive 64; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${proxyPort} ssl; ${tls(at)} keepalive_requests 100000000;
    location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
    location /socket { ${forwardTo(`127.0.0.1:${socketPort}`)} } }`,
  )
  const worker = workerOf(supervisor.pid('proxy')!)
  const { authorityPem } = certificate
  return {
    ...{ appPort, directPort, proxyPort, hostname: serverName, authorityPem },
    pid: () => worker,
  }
}

function forwardTo(address: string): string {
  return `proxy_pass http://${address}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 1h;`
}

function configuration(at: string, servers: string): string {
  return `daemon off; worker_processes 1; pid ${at}/nginx.pid; ${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 4096; }
http { access_log off; client_body_temp_path ${at}/body; proxy_temp_path ${at}/temp; fastcgi_temp_path ${at}/f;
  uwsgi_temp_path ${at}/u; scgi_temp_path ${at}/s;
  ${servers} }
`
}

/** The master's one child (proc(5)). */
function workerOf(master: number): number {
  const [child] = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').trim().split(' ')
  return Number(child)
}
