import { createKeyAndRequest } from '../../certs/request.ts'
import { renewalDueAtMs } from '../../certs/rotation.ts'
import type { ApiClient } from '../../control/api/client.ts'
import type { Log } from '../../protocols/engine.ts'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { validityOf, type ProxyIdentity } from './proxy-identity.ts'

/** Between two attempts that failed. */
const retryMsMin = 10_000
const retryMsMax = 3_600_000

export interface RenewalOptions {
  readonly identity: () => ProxyIdentity
  /** A client that shows the present certificate. */
  readonly api: () => ApiClient
  /** Keeps the new identity and puts it to use. */
  readonly renewed: (identity: ProxyIdentity) => void
  readonly clock: Clock
  readonly log: Log
}

/** Renews both certificates at two thirds of their life, each time with new keys. Returns how to stop. */
export function startRenewal(options: RenewalOptions): () => void {
  const { clock, log } = options
  // Proxies that joined together do not renew together.
  const jitter = Math.random()
  let timer: Timer
  let stopped = false

  const arm = (delayMs: number): void => {
    if (stopped) return
    timer = clock.startTimer(Math.max(0, delayMs), () => {
      renewOnce(options).then(
        () => arm(untilDue()),
        (error: unknown) => {
          const leftMs = validityOf(options.identity()).untilMs - clock.wallMs()
          const delayMs = Math.min(retryMsMax, Math.max(retryMsMin, leftMs / 10))
          log.error({ error: String(error), leftMs, delayMs }, 'the certificates were not renewed')
          arm(delayMs)
        },
      )
    })
  }
  const untilDue = (): number => {
    const { fromMs, untilMs } = validityOf(options.identity())
    return renewalDueAtMs({ notBeforeMs: fromMs, expiresAtMs: untilMs }, jitter) - clock.wallMs()
  }
  arm(untilDue())
  return () => {
    stopped = true
    timer.cancel()
  }
}

async function renewOnce(options: RenewalOptions): Promise<void> {
  const before = options.identity()
  const [client, server] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
  const joined = await options.api().call('proxyRenew', {
    body: { clientRequestPem: client.requestPem, serverRequestPem: server.requestPem },
  })
  for (const key of ['proxyId', 'realm', 'demo'] as const) {
    if (joined[key] !== before[key]) {
      throw new SallyportError('evidence-invalid', `control renewed another ${key}`)
    }
  }
  options.renewed({
    version: 1,
    ...joined,
    clientKeyPem: client.privateKeyPem,
    serverKeyPem: server.privateKeyPem,
  })
  options.log.info({ untilMs: validityOf(options.identity()).untilMs }, 'certificates renewed')
}
