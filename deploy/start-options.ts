import { parseArgs } from 'node:util'
import { resolve } from 'node:path'
import { parseAddress, type Address } from './address.ts'

export interface StartOptions {
  readonly directory: string
  readonly domain: string
  readonly adminEmail: string
  readonly control: Address
  /** What people's clients and the proxy call control, if it is not its address. */
  readonly controlUrl: string | undefined
  readonly postgres: Address
  readonly ssh: Address
  readonly http: Address
}

export const startUsage = `usage: npm start -- --domain DOMAIN --admin EMAIL [options]

Runs control and a proxy on this machine, for real. Each option is also an environment variable.

  --domain DOMAIN       resources are <name>.DOMAIN            SALLYPORT_DOMAIN
  --admin EMAIL         the first admin, signed in here        SALLYPORT_ADMIN
  --data-dir DIR        default: ./data                        SALLYPORT_DATA_DIR
  --control HOST:PORT   control (default 127.0.0.1:8443)       SALLYPORT_CONTROL
  --control-url URL     what others call it, if not that       SALLYPORT_URL
  --postgres HOST:PORT  the proxy (default 127.0.0.1:5432)     SALLYPORT_POSTGRES
  --ssh HOST:PORT       the same for SSH (127.0.0.1:2222)      SALLYPORT_SSH
  --http HOST:PORT      the same for HTTPS (127.0.0.1:9443)    SALLYPORT_HTTP`

/** Throws an Error whose message is for the person. */
export function readStartOptions(
  parameters: readonly string[],
  environment: NodeJS.ProcessEnv,
): StartOptions {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...parameters],
    options: {
      domain: text,
      admin: text,
      'data-dir': text,
      control: text,
      'control-url': text,
      postgres: text,
      ssh: text,
      http: text,
    },
  })
  const domain = values.domain ?? environment['SALLYPORT_DOMAIN']
  const adminEmail = values.admin ?? environment['SALLYPORT_ADMIN']
  if (domain === undefined) throw new Error('--domain is missing')
  if (adminEmail === undefined) throw new Error('--admin is missing')
  return {
    domain,
    adminEmail,
    directory: resolve(values['data-dir'] ?? environment['SALLYPORT_DATA_DIR'] ?? 'data'),
    control: parseAddress(values.control ?? environment['SALLYPORT_CONTROL'] ?? '127.0.0.1:8443'),
    controlUrl: values['control-url'] ?? environment['SALLYPORT_URL'],
    ssh: parseAddress(values.ssh ?? environment['SALLYPORT_SSH'] ?? '127.0.0.1:2222'),
    http: parseAddress(values.http ?? environment['SALLYPORT_HTTP'] ?? '127.0.0.1:9443'),
    postgres: parseAddress(
      values.postgres ?? environment['SALLYPORT_POSTGRES'] ?? '127.0.0.1:5432',
    ),
  }
}
