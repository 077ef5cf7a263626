import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { startDeadline, systemClock } from '../../../protocols/kit/clock.ts'
import type { Home } from '../home.ts'
import { failed, ok, warn, type Check } from './check.ts'

const answerMs = 5_000
/** `SSLRequest` (PostgreSQL manual, 54.7): length 8, code 80877103. */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
/** Any name of the domain must do: the proxy's certificate is for all of them. */
const probeName = 'sally-doctor'

/** That the proxy's port for PostgreSQL answers, speaks TLS, and shows a certificate for the domain's names. */
export async function checkProxy(home: Home): Promise<Check> {
  const port = home.config.proxyPorts.postgres
  if (port !== undefined) return checkPort('proxy', home, port, askForTls)
  const mend = `add "proxyPorts" to ${home.files.config}`
  return warn('proxy', 'the home names no port for postgres', mend)
}

/** The same of its port for web apps. Nothing where the home knows of none. */
export async function checkHttps(home: Home): Promise<Check[]> {
  const port = home.config.proxyPorts.http
  return port === undefined ? [] : [await checkPort('HTTPS proxy', home, port)]
}

async function askForTls(socket: Socket, at: string, signal: AbortSignal): Promise<void> {
  socket.write(sslRequest)
  const [answer] = (await once(socket, 'data', { signal })) as [Buffer]
  if (answer.toString('latin1') !== 'S') throw new Error(`${at} does not offer TLS`)
}

/** `greet`: what its protocol wants before TLS. */
async function checkPort(
  name: string,
  home: Home,
  port: number,
  greet?: (socket: Socket, at: string, signal: AbortSignal) => Promise<void>,
): Promise<Check> {
  const { config } = home
  const host = config.proxyHost ?? `${probeName}.${config.domain}`
  const at = `${host}:${port}`
  let socket: Socket | undefined
  const deadline = startDeadline(systemClock, answerMs)
  const { signal } = deadline
  try {
    socket = await openSocket(host, port, signal)
    await greet?.(socket, at, signal)
    const secure = connectTls({
      socket,
      servername: `${probeName}.${config.domain}`,
      ca: readFileSync(home.files.serverAuthorities),
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
    })
    await once(secure, 'secureConnect', { signal })
    secure.destroy()
    return ok(name, `${at} answers, and its certificate is for *.${config.domain}`)
  } catch (error) {
    const why =
      error instanceof Error && error.name === 'AbortError'
        ? new Error(`${at} does not answer`)
        : error
    return failed(
      name,
      why,
      `is the proxy running, and are proxyHost and proxyPorts right in ${home.files.config}?`,
    )
  } finally {
    deadline.cancel()
    socket?.destroy()
  }
}

/** Whether other clients than `sally connect` find the proxy by name. */
export async function checkNames(home: Home): Promise<Check> {
  const { domain, proxyHost } = home.config
  const name = `${probeName}.${domain}`
  const address = proxyHost !== undefined && isIP(proxyHost) > 0 ? proxyHost : undefined
  const help =
    address === undefined
      ? `give *.${domain} an address in DNS`
      : `sally connect needs no DNS; give other clients hostaddr=${address}, or *.${domain} that address in DNS`
  try {
    const found = await lookup(name, { all: true })
    const addresses = found.map((entry) => entry.address)
    if (address === undefined || addresses.includes(address)) {
      return ok('names', `*.${domain} is ${addresses.join(', ')}`)
    }
    return warn('names', `*.${domain} is ${addresses.join(', ')}, the proxy is ${address}`, help)
  } catch {
    return warn('names', `*.${domain} does not resolve`, help)
  }
}

async function openSocket(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = connectTcp({ host, port })
  try {
    await once(socket, 'connect', { signal })
    // Kept, so that a reset while nobody waits is no crash.
    socket.on('error', () => undefined)
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}
