/** What becomes of each request of a connection: refused, answered by the proxy itself, or relayed under a lease. */
import type { Level } from '../../session.ts'
import { levels } from '../../session.ts'
import { toSallyportError, type SallyportError } from '../../kit/errors.ts'
import { relayRequest, type Admitted } from '../relay.ts'
import { isAllowed } from '../relay/rules.ts'
import { relayUpgrade } from '../relay/upgrade.ts'
import type { Exchange } from '../wire.ts'
import { fieldValue } from '../wire/fields.ts'
import type { OpenWebSocket } from '../wire/http1.ts'
import { HttpRefusal } from '../wire/refusal.ts'
import { answerRefusal, isNavigation } from './answer.ts'
import { checkRequest, type Asked } from './check.ts'
import type { ClientConnection } from './client-connection.ts'
import { findEvidence, type Shown } from './evidence.ts'
import type { HeldLease } from './held-lease.ts'
import { beginVisit, refuseOwnPath, serveOwnPath } from './own-paths.ts'
import { answerCut, openLink, pageOf } from './refusal-words.ts'
import { isOwnPath } from './return-path.ts'

/** What a client may say of itself; the rest is left out. */
const agentCharactersMax = 200

/** Handles one request. Never throws and never rejects. `open` is there where a WebSocket is asked for. */
export function handleRequest(
  exchange: Exchange,
  connection: ClientConnection,
  open?: OpenWebSocket,
): void {
  const { greeted, host } = connection
  let asked: Asked
  try {
    asked = checkRequest(exchange, greeted.serverName, host.domain)
  } catch (error) {
    logRefusal(connection, error)
    answerRefusal(exchange, toSallyportError(error))
    return
  }
  exchange.onBroken((refusal) => {
    logRefusal(connection, refusal)
    answerRefusal(exchange, refusal)
  })
  if (exchange.hasBegun) return
  const shown = findEvidence(exchange.headers, greeted.certificate, asked.authority)
  const wanted = wantedOf(exchange)
  const agent = (): string =>
    (fieldValue(exchange.headers, 'user-agent') ?? '').slice(0, agentCharactersMax)
  const lease = (): HeldLease | Promise<HeldLease> => connection.lease(shown, asked, wanted, agent)
  const at = async (level: Level): Promise<HeldLease> =>
    connection.lease(shown, asked, level, agent)
  if (isOwnPath(asked.path)) {
    serveOwnPath(exchange, asked, connection, lease).catch((error: unknown) => {
      logRefusal(connection, error)
      refuseOwnPath(exchange, error)
    })
    return
  }
  const relay = (held: HeldLease): void => {
    if (exchange.isOver || exchange.hasBegun) return
    const { ended } = held
    if (ended !== undefined) {
      answerCut(exchange, ended, asked, held)
      return
    }
    const { remoteAddress } = connection
    const { usesAuthorization } = shown
    const given: Admitted = { exchange, asked, held, host, remoteAddress, usesAuthorization }
    if (open === undefined) relayRequest(given)
    else relayUpgrade(given, open)
  }
  const admitted = (held: HeldLease): void => {
    const level = otherLevel(exchange, asked, shown, held)
    if (level === undefined) {
      relay(held)
      return
    }
    // Whoever has it no more is told what the lease that they have is for.
    at(level).then(relay, () => relay(held))
  }
  const refused = (error: unknown): void => {
    logRefusal(connection, error)
    void refuse(exchange, asked, connection, shown, toSallyportError(error))
  }
  let held: HeldLease | Promise<HeldLease>
  try {
    held = lease()
  } catch (error) {
    refused(error)
    return
  }
  // Without a detour where the lease is there: this is every request but a connection's first.
  if (held instanceof Promise) held.then(admitted).catch(refused)
  else admitted(held)
}

/** Who is not let in: a browser that opens a page is sent to sign in, everybody else is told. Never rejects. */
async function refuse(
  exchange: Exchange,
  asked: Asked,
  connection: ClientConnection,
  { evidence }: Shown,
  error: SallyportError,
): Promise<void> {
  if (exchange.isOver || exchange.hasBegun) return
  const isStale = error.code === 'evidence-invalid' || error.code === 'evidence-expired'
  const isUnknown = error.code === 'evidence-missing' || isStale
  const ofBrowser = evidence.kind === 'none' || evidence.kind === 'browser-session'
  if (isUnknown && ofBrowser && isNavigation(exchange)) {
    try {
      await beginVisit(exchange, asked, connection, 'read', exchange.target)
    } catch (failure) {
      logRefusal(connection, failure)
      answerRefusal(exchange, toSallyportError(failure))
    }
    return
  }
  const asks = `Bearer realm="${connection.host.domain}"`
  const isUnauthorised = isUnknown || error.code === 'token-refused'
  answerRefusal(exchange, error, {
    ...(isUnauthorised
      ? {
          headers: [
            'www-authenticate',
            evidence.kind === 'none' ? asks : `${asks}, error="invalid_token"`,
          ],
        }
      : {}),
    ...(error.code === 'access-denied' ? { title: 'No access now' } : {}),
    action: {
      label: isUnauthorised ? 'Sign in' : 'Ask for access',
      href: openLink('read', pageOf(exchange, asked)),
    },
  })
}

/**
 * The level of another grant of the same person by which a request may pass that this lease is too low for. A browser's cookie is for one
 * grant, and who names a level means it.
 */
function otherLevel(
  { method }: Exchange,
  { path }: Asked,
  { evidence }: Shown,
  { rules, session }: HeldLease,
): Level | undefined {
  if (evidence.kind !== 'bearer' && evidence.kind !== 'client-certificate') return undefined
  const need = rules.needOf(method, path)
  if (need === 'deny' || isAllowed(session.labels.level, need)) return undefined
  return session.levelCovering?.(need)
}

/** Which of several grants is meant; programs say so. */
function wantedOf({ headers }: Exchange): Level | '' {
  const said = fieldValue(headers, 'sallyport-level')?.toLowerCase()
  return levels.find((level) => level === said) ?? ''
}

function logRefusal({ host, remoteAddress }: ClientConnection, thrown: unknown): void {
  const { code, message } = toSallyportError(thrown)
  const level = thrown instanceof HttpRefusal || code !== 'internal' ? 'info' : 'error'
  host.log[level]({ code, why: message, remoteAddress }, 'request refused')
}
