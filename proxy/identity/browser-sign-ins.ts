/** How a browser signs in: it is sent to the console with a visit that this proxy signs, and comes back with a code that control trades. */
import { randomBytes } from 'node:crypto'
import { isIPv4 } from 'node:net'
import { LRUCache } from 'lru-cache'
import type { Signer } from '../../certs/signer.ts'
import type { ApiClient } from '../../control/api/client.ts'
import { challengeOf, openAppPath, signOutPath } from '../../control/api/http.ts'
import { signToken } from '../../control/api/tokens.ts'
import type { Browsers, Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import { createGuessLimit } from '../../protocols/kit/guess-limit.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { networkOf } from '../../protocols/kit/network-of.ts'
import { Secret } from '../../protocols/kit/secret.ts'
import type { ProxyIdentity } from './proxy-identity.ts'
import { noName } from '../sessions/access-denied.ts'
import { resourceNameOf } from '../sessions/resource-name-of.ts'
import { untilRefusal } from '../sessions/until-refusal.ts'
import { createTokenBucket } from './token-bucket.ts'

export interface BrowserSignInsOptions {
  /** Only what never changes of it. */
  readonly identity: Pick<ProxyIdentity, 'proxyId' | 'realm' | 'group' | 'domain'>
  /** Of the certificate that this proxy has at the moment. */
  readonly signer: Signer
  readonly consoleUrl: string
  /** Whether control is there to sign anybody in. */
  readonly isControlThere: () => boolean
  readonly api: () => Pick<ApiClient, 'call'>
  readonly clock: Clock
  readonly limits: Pick<Limits, 'refusalMs'>
  readonly log: Log
}

/** Browsers of one address that are sent to sign in: so many at once (tabs are opened together), and per second after that. */
const visitsBurst = 120
const visitsPerSecond = 2
const addressesMax = 10_000
const guessesMax = 60
const guessWindowMs = 60_000
/** Of its own, and more: who spends the guesses of an address must not keep codes there that were shown wrongly. */
const misplacedMax = 600
/** 32 bytes, base64url. */
const secretForm = /^[A-Za-z0-9_-]{43}$/

/** What each connection's gate has, by its address. */
export function createBrowserSignIns(
  options: BrowserSignInsOptions,
): (remoteAddress: string) => Browsers {
  const { identity, signer, consoleUrl, api, clock, limits, log } = options
  const { realm, proxyId, group, domain } = identity
  const buckets = new LRUCache<string, () => boolean>({ max: addressesMax })
  const guesses = createGuessLimit({ clock, perAddressMax: guessesMax, windowMs: guessWindowMs })
  const misplaced = createGuessLimit({
    clock,
    perAddressMax: misplacedMax,
    windowMs: guessWindowMs,
  })
  const at = (path: string): string => new URL(path, consoleUrl).href
  const nameOf = (called: string): string => resourceNameOf(called, domain) ?? noName

  function requireRoom(remoteAddress: string): void {
    const network = networkOf(remoteAddress)
    let take = buckets.get(network)
    if (take === undefined) {
      take = createTokenBucket(clock, visitsBurst, visitsPerSecond)
      buckets.set(network, take)
    }
    if (take()) return
    throw new SallyportError('rate-limited', `too many visits of ${network}`, {
      clientMessage: 'too many browsers are sent to sign in from your address',
      hint: 'wait a minute',
    })
  }

  async function finish({ resource, code, binding, remoteAddress }: Visit) {
    const counted = binding === undefined ? misplaced : guesses
    counted.require(remoteAddress)
    // One that fits no visit: control uses the code up.
    const shown = binding?.reveal() ?? randomBytes(32).toString('base64url')
    try {
      const body = {
        ...{ code: code.reveal(), binding: shown, resource: nameOf(resource) },
        remoteAddress: plainAddress(remoteAddress),
      }
      if (!secretForm.test(body.code) || !secretForm.test(body.binding)) {
        throw refused('it does not look like one')
      }
      const { session, expiresAtMs } = await api().call('proxyHttpFinish', { body })
      return { cookie: new Secret(session), expiresAtMs }
    } catch (error) {
      const refusal = wordsOf(error)
      if (refusal.code === 'evidence-invalid') counted.failed(remoteAddress)
      throw refusal
    }
  }

  return (remoteAddress) => ({
    signOutUrl: at(signOutPath),
    async begin({ resource, level, port }) {
      requireRoom(remoteAddress)
      if (!options.isControlThere()) throw controlAway()
      const binding = randomBytes(32).toString('base64url')
      const visit = await signToken(
        'app-visit',
        {
          ...{ realm, proxyId, group, level, port, resource: nameOf(resource) },
          challenge: challengeOf(binding),
          issuedAtMs: clock.wallMs(),
        },
        { kid: signer.kid, alg: signer.algorithm, sign: (data) => signer.sign(data) },
      )
      return { url: `${at(openAppPath)}?visit=${visit}`, binding: new Secret(binding) }
    },
    async finish(visit) {
      const arrivedMs = clock.monotonicMs()
      try {
        return await finish(visit)
      } catch (error) {
        const { code, message: why } = toSallyportError(error)
        log.info({ code, why, remoteAddress }, 'a browser was not signed in')
        await untilRefusal(clock, limits, arrivedMs)
        throw error
      }
    },
  })
}

/** Better a page that says so than one of the browser's, at an address that does not answer. */
function controlAway(): SallyportError {
  return new SallyportError('control-unreachable', 'no browser is sent to control: it is away', {
    clientMessage: 'nobody can be signed in: Sallyport’s control cannot be reached from here',
    hint: 'try again in a minute; if it stays like this, tell whoever runs Sallyport',
  })
}

type Visit = Parameters<Browsers['finish']>[0]

function plainAddress(remoteAddress: string): string {
  const plain = remoteAddress.replace(/^::ffff:/, '')
  return isIPv4(plain) ? plain : remoteAddress.replace(/%.*$/, '')
}

/** The browser learns nothing about which it was; the log does. */
function refused(why: string, cause?: unknown): SallyportError {
  return new SallyportError('evidence-invalid', `the code of a sign-in is refused: ${why}`, {
    clientMessage:
      'this sign-in is not valid here: it was used, took too long, or began in another browser',
    hint: 'open the app again to sign in',
    cause,
  })
}

function wordsOf(thrown: unknown): SallyportError {
  const error = toSallyportError(thrown)
  const { code, message } = error
  switch (code) {
    case 'evidence-invalid':
    case 'not-found':
    case 'not-allowed':
    case 'access-denied':
    case 'conflict':
    case 'request-invalid':
      return refused(`${code}: ${message}`, thrown)
    case 'rate-limited':
      return error
    default:
      return new SallyportError('sign-in-unavailable', `${code}: ${message}`, {
        clientMessage: 'nobody can sign in here at the moment',
        hint: 'try again later; tell the operator of the proxy if it lasts',
        cause: thrown,
      })
  }
}
