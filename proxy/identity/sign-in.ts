/** Signing in while the client waits: control speaks to the identity provider, this shows its link and waits with the person. */
import { isIPv4 } from 'node:net'
import type { ApiClient } from '../../control/api/client.ts'
import type { Gate } from '../../protocols/engine.ts'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import { SallyportError, toSallyportError } from '../../protocols/kit/errors.ts'
import type { Limits } from '../../protocols/kit/limits.ts'
import { networkOf } from '../../protocols/kit/network-of.ts'
import type { ControlClock } from '../control-link/control-clock.ts'
import type { Identities } from './identities.ts'

const waitMs = 20_000
const retryMs = 1_000

export interface SignIns {
  signIn: Gate['signIn']
  /** People who are signing in now. */
  readonly pending: number
}

export interface SignInOptions {
  readonly api: () => Pick<ApiClient, 'call'>
  readonly identities: Pick<Identities, 'make'>
  readonly clock: Clock
  readonly controlClock: Pick<ControlClock, 'leftMs'>
  readonly limits: Pick<Limits, 'signInsPerAddressMax' | 'signInsMax'>
}

export function createSignIns(options: SignInOptions): SignIns {
  const { api, identities, clock, controlClock, limits } = options
  const perAddress = new Map<string, number>()
  let pending = 0

  function enter(network: string): void {
    const own = perAddress.get(network) ?? 0
    if (own < limits.signInsPerAddressMax && pending < limits.signInsMax) {
      perAddress.set(network, own + 1)
      pending += 1
      return
    }
    throw new SallyportError(
      'rate-limited',
      `${own} sign-ins wait of ${network}, ${pending} in all`,
      {
        clientMessage: 'too many people are signing in from your address',
        hint: 'finish the sign-ins that wait, or try again in some minutes',
      },
    )
  }

  function leave(network: string): void {
    const left = (perAddress.get(network) ?? 1) - 1
    if (left > 0) perAddress.set(network, left)
    else perAddress.delete(network)
    pending -= 1
  }

  const signIn: Gate['signIn'] = async (remoteAddress, show, signal) => {
    signal.throwIfAborted()
    const begun = await unlessAborted(begin(addressOf(remoteAddress)), signal)
    const { signInId, url, code, expiresAtMs, notice } = begun
    show({ url, code, expiresAtMs, notice })
    const endMs = clock.monotonicMs() + controlClock.leftMs(expiresAtMs)
    while (clock.monotonicMs() < endMs) {
      const askedMs = clock.monotonicMs()
      const leftMs = Math.min(waitMs, Math.ceil(endMs - askedMs))
      const state = await unlessAborted(wait(signInId, leftMs), signal)
      if (state.state === 'signed-in') {
        const { personId, personEmail, loginId, issuedAtMs, expiresAtMs: untilMs } = state
        return identities.make({
          ...{ personId, email: personEmail, kind: 'login', serial: loginId },
          ...{ issuedAtMs, expiresAtMs: untilMs },
        })
      }
      if (state.state === 'refused') throw refused(state.why)
      // A control that has too many to wait for answers at once; asking again at once would only make it worse.
      const hurryMs = askedMs + retryMs - clock.monotonicMs()
      if (hurryMs > 0) await unlessAborted(sleep(clock, hurryMs), signal)
    }
    throw refused('nobody signed in in time')
  }

  async function begin(remoteAddress: string) {
    try {
      return await api().call('proxySshSignIn', { body: { remoteAddress } })
    } catch (error) {
      throw unavailable(error)
    }
  }

  async function wait(signInId: string, forMs: number) {
    try {
      return await api().call('proxySshSignInWait', { body: { signInId, waitMs: forMs } })
    } catch (error) {
      const { code } = toSallyportError(error)
      // The person is busy elsewhere: what passes by itself is waited for with them.
      if (code !== 'control-unreachable' && code !== 'store-unavailable') throw unavailable(error)
      return { state: 'pending' as const }
    }
  }

  return {
    async signIn(remoteAddress, show, signal) {
      const network = networkOf(remoteAddress)
      enter(network)
      try {
        return await signIn(remoteAddress, show, signal)
      } finally {
        leave(network)
      }
    },
    get pending() {
      return pending
    },
  }
}

/** Rejects with the signal's reason as soon as it aborts: whoever waited is gone. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const give = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', give, { once: true })
  if (signal.aborted) give()
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', give)
    // What nobody waits for any more must not end the process.
    work.catch(() => undefined)
  }
}

function addressOf(remoteAddress: string): string {
  const plain = remoteAddress.replace(/^::ffff:/, '')
  return isIPv4(plain) ? plain : remoteAddress.replace(/%.*$/, '')
}

function refused(why: string): SallyportError {
  return new SallyportError('sign-in-refused', `the sign-in was refused: ${why}`, {
    clientMessage: `you are not signed in: ${why}`,
    hint: 'connect again to try once more; or sign in with: sally login',
  })
}

function unavailable(cause: unknown): SallyportError {
  const { code, message, clientMessage, hint } = toSallyportError(cause)
  if (code === 'rate-limited') return toSallyportError(cause)
  return new SallyportError('sign-in-unavailable', `${code}: ${message}`, {
    clientMessage:
      code === 'sign-in-unavailable' ? clientMessage : 'nobody can sign in here at the moment',
    hint: hint ?? 'use a key: sally login, or sally ssh-key add FILE; or try again later',
    cause,
  })
}
