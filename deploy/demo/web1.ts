/** The demo's SSH resource: a host with two accounts, a site to look at and a log that grows. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { ApiClient } from '../../control/api/client.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { installCommand } from '../install-packages.ts'
import { placeFor } from '../place.ts'
import { sshdPackages, type FoundSshd } from '../ssh/find-sshd.ts'
import { prepareSshd, sshdAccounts } from '../ssh/sshd.ts'
import { terminalsHaveGroup } from '../ssh/terminal-group.ts'
import type { Supervisor } from '../supervisor.ts'
import { prepareStandIn } from './stand-in/settings.ts'
import { fillHomes, growLog, homeOf } from './web1-homes.ts'

const host = '127.0.0.1'
/** The account behind each level. */
const accountOf = { read: 'viewer', admin: 'operator' } as const
export const web1Directory = 'web1'
const secret = 'certificate:web1'
/** How to get the real one. */
export const realWeb1Command = installCommand(sshdPackages)

export interface Web1 {
  readonly hostKeyLine: string
  readonly ports: Web1Ports
  readonly accounts: Readonly<Record<keyof typeof accountOf, string>>
  /** It is no real sshd, but what stands in for one. */
  readonly isStandIn: boolean
  /** Ends what grows and answers there; the server itself is the supervisor's. */
  close(): void
}

interface Web1Ports {
  readonly sshd: number
  /** Of a page of the site, which is reached through a declared tunnel only. */
  readonly page: number
}

export interface Web1Context {
  /** Of the demo. */
  readonly directory: string
  readonly api: ApiClient
  /** Undefined: there is none. */
  readonly found: FoundSshd | undefined
  readonly supervisor: Supervisor
  readonly clock: Clock
  readonly announce: (line: string) => void
}

/** Starts it; it takes the certificates of control's upstream authority, and nothing else. */
export async function startWeb1(ports: Web1Ports, context: Web1Context): Promise<Web1> {
  const { upstream } = await context.api.call('sshAuthorities')
  const { found } = context
  // Without names of its own a real one would lend root, or could give nobody a terminal.
  const withoutNames = userInfo().uid !== 0 && terminalsHaveGroup()
  const isReal = found !== undefined && (found.nssWrapper !== undefined || withoutNames)
  const page = createServer((_request, response) => response.end('web1 is well\n'))
  page.listen(ports.page, host)
  await once(page, 'listening')
  const start = isReal
    ? startReal(ports, upstream, found, context)
    : startStandIn(ports, upstream, context)
  const server = await start.catch((error: unknown) => {
    page.close()
    throw error
  })
  return {
    ...server,
    ports,
    isStandIn: !isReal,
    close() {
      server.close()
      page.close()
      page.closeAllConnections()
    },
  }
}

type Server = Pick<Web1, 'hostKeyLine' | 'accounts' | 'close'>

async function startReal(
  ports: Web1Ports,
  authorities: readonly string[],
  found: FoundSshd,
  { directory, supervisor, clock }: Web1Context,
): Promise<Server> {
  const { username, uid, gid } = userInfo()
  // Any id that is not root's stands for those of the accounts.
  const stranger = uid === 0 ? { uid: 65_534, gid: 65_534 } : undefined
  const place = placeFor(directory, web1Directory, stranger)
  const names = Object.values(accountOf)
  const homes = new Map(names.map((name) => [name, homeOf(place, name)]))
  const accounts = sshdAccounts(found, homes, { username, uid, gid })
  fillHomes(place, accounts)
  const server = prepareSshd({
    ...{ found, port: ports.sshd, accounts, authorities },
    directory: join(directory, 'sshd'),
    publicDirectory: join(place, 'names'),
    logFile: join(directory, 'logs', 'sshd.log'),
  })
  await supervisor.start(server.program)
  const log = growLog(place, clock)
  return {
    hostKeyLine: server.hostKeyLine,
    accounts: { read: accounts[0]!.name, admin: accounts.at(-1)!.name },
    close: () => log.cancel(),
  }
}

async function startStandIn(
  { sshd, page }: Web1Ports,
  authorities: readonly string[],
  { directory, supervisor, announce }: Web1Context,
): Promise<Server> {
  announce(`web1 is a stand-in, for want of an sshd; for a real one: ${realWeb1Command}`)
  const { program, hostKeyLine } = await prepareStandIn(directory, {
    ...{ port: sshd, pagePort: page, authorities: [...authorities] },
    accounts: Object.values(accountOf),
  })
  await supervisor.start(program)
  return { hostKeyLine, accounts: accountOf, close: () => undefined }
}

/** The rule of the proxy's policy that lets it log in there. */
export function web1Rule({ hostKeyLine, ports }: Web1): string {
  return `  - reference: "${secret}"
    addresses: ["${host}:${ports.sshd}"]
    hostKeys: ["${hostKeyLine}"]
    levels: [${Object.keys(accountOf).join(', ')}]
`
}

/** As control knows it. */
export function web1Resource({ hostKeyLine, ports, accounts, isStandIn }: Web1) {
  return {
    name: 'web1',
    protocol: 'ssh' as const,
    address: { host, port: ports.sshd },
    levels: {
      read: { account: accounts.read, secret },
      admin: { account: accounts.admin, secret },
    },
    tags: { environment: 'demo', ...(isStandIn ? { server: 'stand-in' } : {}) },
    owner: 'shop-team@example.test',
    description: isStandIn
      ? 'The web server of the shop (a stand-in: no sshd is installed)'
      : 'The web server of the shop',
    ssh: {
      hostKeys: [hostKeyLine],
      // A page that is not reachable otherwise: ssh -L 8080:localhost:<port> web1…
      tunnels: [
        {
          host: 'localhost',
          port: ports.page,
          carries: 'http' as const,
          levels: Object.keys(accountOf) as (keyof typeof accountOf)[],
        },
      ],
      recording: { input: true },
    },
  }
}
