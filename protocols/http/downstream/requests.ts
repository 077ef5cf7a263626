/** What becomes of each request of a connection: refused, answered by the proxy itself, or relayed under a lease. */
import type { Level } from '../../session.ts'
import { levels } from '../../session.ts'
import { toSallyportError, type SallyportError } from '../../kit/errors.ts'
import { relayRequest } from '../relay.ts'
import type { Admitted } from '../relay/admitted.ts'
import { isAllowed } from '../relay/rules.ts'
import { relayUpgrade } from '../relay/upgrade.ts'
import type { Exchange } from '../wire.ts'
import { fieldValue } from '../wire/fields.ts'
import type { OpenWebSocket } from '../wire/http1.ts'
import { HttpRefusal, statusOf } from '../wire/refusal.ts'
import { answerRefusal, isNavigation } from './answer.ts'
import { checkRequest, type Asked } from './check.ts'
import type { ClientConnection } from './client-connection.ts'
import { findEvidence, type Shown } from './evidence.ts'
import type { HeldLease } from './held-lease.ts'
import { isOwnPath } from './own-paths.ts'
import { answerCut, deniedWords, openLink, pageOf, strangerWords } from './refusal-words.ts'
import { beginVisit, refuseOwnPath, serveOwnPath } from './serve-own-path.ts'

/** Handles one request. Never throws and never rejects. `open` is there where a WebSocket is asked for. */
export function handleRequest(
  exchange: Exchange,
  connection: ClientConnection,
  open?: OpenWebSocket,
): void {
  let asked: Asked
  try {
    asked = checkRequest(exchange, connection.greeted.serverName, connection.host.domain)
  } catch (error) {
    logRefusal(connection, error)
    answerRefusal(exchange, toSallyportError(error))
    return
  }
  exchange.onBroken((refusal) => {
    logRefusal(connection, refusal)
    answerRefusal(exchange, refusal)
  })
  if (!exchange.hasBegun) new CheckedRequest(exchange, asked, connection, open).start()
}

/** A request about which nothing is in doubt but who asks. */
class CheckedRequest {
  readonly #exchange: Exchange
  readonly #asked: Asked
  readonly #connection: ClientConnection
  readonly #open: OpenWebSocket | undefined
  readonly #shown: Shown

  constructor(
    exchange: Exchange,
    asked: Asked,
    connection: ClientConnection,
    open: OpenWebSocket | undefined,
  ) {
    this.#exchange = exchange
    this.#asked = asked
    this.#connection = connection
    this.#open = open
    this.#shown = findEvidence(exchange.headers, connection.greeted.certificate, asked.authority)
  }

  start(): void {
    const exchange = this.#exchange
    if (isOwnPath(this.#asked.path)) {
      const lease = (): HeldLease | Promise<HeldLease> => this.#lease(wantedOf(exchange))
      serveOwnPath(exchange, this.#asked, this.#connection, lease).catch((error: unknown) => {
        logRefusal(this.#connection, error)
        refuseOwnPath(exchange, error)
      })
      return
    }
    let held: HeldLease | Promise<HeldLease>
    try {
      held = this.#lease(wantedOf(exchange))
    } catch (error) {
      this.#refuse(error)
      return
    }
    // Without a detour where the lease is there: this is every request but a connection's first.
    if (held instanceof Promise) {
      held.then((lease) => this.#admit(lease)).catch((error: unknown) => this.#refuse(error))
    } else {
      this.#admit(held)
    }
  }

  #lease(wanted: Level | ''): HeldLease | Promise<HeldLease> {
    return this.#connection.lease(this.#shown, this.#asked, wanted, this.#exchange.headers)
  }

  #admit(held: HeldLease): void {
    const level = otherLevel(this.#exchange, this.#asked, this.#shown, held)
    if (level === undefined) {
      this.#relay(held)
      return
    }
    // Whoever has it no more is told what the lease that they have is for.
    const at = async (): Promise<HeldLease> => this.#lease(level)
    at()
      .then(
        (other) => this.#relay(other),
        () => this.#relay(held),
      )
      .catch((error: unknown) => this.#refuse(error))
  }

  #relay(held: HeldLease): void {
    const exchange = this.#exchange
    if (exchange.isOver || exchange.hasBegun) return
    const { ended } = held
    if (ended !== undefined) {
      answerCut(exchange, ended, this.#asked, held)
      return
    }
    const { host, remoteAddress } = this.#connection
    const { usesAuthorization } = this.#shown
    const asked = this.#asked
    const given: Admitted = { exchange, asked, held, host, remoteAddress, usesAuthorization }
    try {
      if (this.#open === undefined) relayRequest(given)
      else relayUpgrade(given, this.#open)
    } catch (error) {
      // What cannot be recorded; thrown in an event of the connection, it would end the process.
      this.#refuse(error)
    }
  }

  #refuse(error: unknown): void {
    logRefusal(this.#connection, error, this.#asked.resource)
    void refuse(this.#exchange, this.#asked, this.#connection, this.#shown, toSallyportError(error))
  }
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
      const refused = toSallyportError(failure)
      const again = { action: { label: 'Try again', href: pageOf(exchange, asked) } }
      answerRefusal(exchange, refused, statusOf(refused) === 503 ? again : {})
    }
    return
  }
  const asks = `Bearer realm="${connection.host.domain}"`
  const isUnauthorised = isUnknown || error.code === 'token-refused'
  if (error instanceof HttpRefusal) {
    answerRefusal(exchange, error)
    return
  }
  if (!isUnauthorised) {
    answerRefusal(exchange, error, deniedWords(error, exchange, asked, wantedOf(exchange)))
    return
  }
  const said = evidence.kind === 'none' ? asks : `${asks}, error="invalid_token"`
  answerRefusal(exchange, error, {
    headers: ['www-authenticate', said],
    ...(evidence.kind === 'none' ? strangerWords(exchange) : {}),
    action: { label: 'Sign in', href: openLink('read', pageOf(exchange, asked)) },
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

/** Which of several grants is meant; programs say so. Throws for what is no level: another grant than the one that was meant is no answer. */
function wantedOf({ headers }: Exchange): Level | '' {
  const said = fieldValue(headers, 'sallyport-level')?.toLowerCase()
  if (said === undefined || said === '') return ''
  const wanted = levels.find((level) => level === said)
  if (wanted !== undefined) return wanted
  throw new HttpRefusal(400, 'protocol-violation', 'Sallyport-Level names no level', {
    hint: `write one of ${levels.join(', ')}, or leave the header out`,
  })
}

/** `resource` as the client has it, where it is known what it asks for. */
function logRefusal(
  { host, remoteAddress }: ClientConnection,
  thrown: unknown,
  resource?: string,
): void {
  if (thrown instanceof HttpRefusal) host.refused(thrown.code)
  const { code, message } = toSallyportError(thrown)
  const level = thrown instanceof HttpRefusal || code !== 'internal' ? 'info' : 'error'
  host.log[level]({ code, why: message, remoteAddress, resource }, 'request refused')
}
