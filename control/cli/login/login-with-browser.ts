import { spawn } from 'node:child_process'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startDeadline } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import { redirectPath, type SignedIn } from '../../api/login.ts'
import type { Cli } from '../cli.ts'
import type { HomeKeys } from '../home-keys.ts'
import { printable } from '../printable.ts'
import { startProgress } from '../progress.ts'

const waitMsMax = 10 * 60_000

interface Arrived {
  readonly code: string
  readonly state: string
  readonly iss?: string
}

/** Whether a browser that we start can come back to this machine: a display, and no SSH in between. */
export function hasBrowser(environment: NodeJS.ProcessEnv, platform: NodeJS.Platform): boolean {
  const set = (name: string): boolean => (environment[name] ?? '') !== ''
  if (set('SSH_CONNECTION') || set('SSH_TTY')) return false
  return platform === 'darwin' || set('DISPLAY') || set('WAYLAND_DISPLAY')
}

/** Opens the provider's page and waits on the loopback address for the browser to come back (RFC 8252, 7.3). */
export async function loginWithBrowser(
  cli: Cli,
  api: ApiClient,
  ask: HomeKeys['ask'],
): Promise<SignedIn> {
  const server = createServer({ maxHeaderSize: 32 * 1024 })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const deadline = startDeadline(cli.clock, waitMsMax)
  const progress = startProgress(cli, 'waiting for the browser')
  try {
    const redirectUri = `http://127.0.0.1:${port}${redirectPath}`
    const begun = await api.call('loginCode', { body: { ...ask, redirectUri } })
    const state = new URL(begun.authorizationUrl).searchParams.get('state') ?? ''
    const arriving = waitForBrowser(server, port, state, deadline.signal)
    // Also where the browser starts: it may be the wrong one, or none.
    cli.note(`Sign in in your browser. If none opens:\n\n  ${printable(begun.authorizationUrl)}\n`)
    openBrowser(cli.environment, begun.authorizationUrl)
    const body = { ...(await arriving), secret: begun.secret }
    progress.update('asking control for the certificate')
    return await api.call('loginCodeFinish', { params: { id: begun.id }, body })
  } finally {
    progress.end()
    deadline.cancel()
    server.close()
    server.closeIdleConnections()
  }
}

function waitForBrowser(
  server: Server,
  port: number,
  state: string,
  signal: AbortSignal,
): Promise<Arrived> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () =>
      reject(refused('nobody signed in in the browser in time', signal.reason)),
    )
    server.on('request', (request, response) => {
      // Any page can make the browser ask for anything here: "//" is no address, and must not end the sign-in.
      const base = `http://127.0.0.1:${port}`
      const asked = request.url ?? '/'
      const url = new URL(URL.canParse(asked, base) ? asked : '/', base)
      const found = url.searchParams
      // A page elsewhere that guesses our port knows neither; another host name is somebody's trick with DNS.
      if (
        request.method !== 'GET' ||
        url.pathname !== redirectPath ||
        request.headers.host !== `127.0.0.1:${port}` ||
        found.get('state') !== state
      ) {
        answer(response, 404, 'This is not the page you look for.')
        return
      }
      const [code, iss] = [found.get('code'), found.get('iss')]
      if (code === null) {
        answer(response, 200, 'You were not signed in. The terminal says more.')
        reject(refused('the identity provider did not let you in', found.get('error')))
        return
      }
      answer(response, 200, 'Done. Go back to the terminal; you can close this page.')
      resolve({ code, state, ...(iss === null ? {} : { iss }) })
    })
  })
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    connection: 'close',
  })
  response.end(`<!doctype html><title>sally login</title><p>${text}</p>`)
}

function openBrowser(environment: NodeJS.ProcessEnv, address: string): void {
  // It comes from control, and goes to a program: an https address is never an option or a file.
  if (!address.startsWith('https://')) return
  const program = environment['BROWSER'] || (process.platform === 'darwin' ? 'open' : 'xdg-open')
  const child = spawn(program, [address], { stdio: 'ignore', detached: true, env: environment })
  child.on('error', () => undefined)
  child.unref()
}

function refused(what: string, cause: unknown): SallyportError {
  return new SallyportError('sign-in-refused', `${what}: ${String(cause)}`, {
    clientMessage: what,
    hint: 'begin again: sally login; without a browser: sally login --device',
  })
}
