/** Control's own server certificate: from its authority, made at each start and renewed, its key never on disk. */
import { isIP } from 'node:net'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import { createKeyAndRequest } from '../../certs/request.ts'
import { renewalDueAtMs } from '../../certs/rotation.ts'
import { nowMs, type Control } from '../control.ts'

export interface ServerCertificate {
  readonly key: string
  /** The leaf and its authority: a proxy that joins finds the pinned one in the chain. */
  readonly cert: string
}

const validForMs = 30 * 86_400_000
const retryMs = 60_000

/** `hosts`: names and addresses that callers use. */
export async function issueControlCertificate(
  control: Pick<Control, 'realm' | 'demo' | 'clock' | 'keys'>,
  hosts: readonly string[],
): Promise<ServerCertificate & { readonly renewAtMs: number }> {
  const authority = control.keys.authorities.control
  const names = [...new Set(['localhost', '127.0.0.1', '::1', ...hosts])]
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const issued = await issueServerCertificate(authority, {
    requestPem,
    dnsNames: names.filter((name) => isIP(name) === 0),
    ipAddresses: names.filter((name) => isIP(name) !== 0),
    uri: `sallyport://${control.realm}/control/main`,
    validForMs,
    clock: control.clock,
    demo: control.demo,
  })
  return {
    key: privateKeyPem,
    cert: `${issued.certificatePem.trimEnd()}\n${authority.certificatePem}`,
    renewAtMs: renewalDueAtMs(issued),
  }
}

/** Renews for as long as the process runs. Returns how to stop. */
export function keepRenewed(
  control: Pick<Control, 'realm' | 'demo' | 'clock' | 'keys' | 'log'>,
  hosts: readonly string[],
  firstAtMs: number,
  use: (certificate: ServerCertificate) => void,
): () => void {
  const { clock, log } = control
  let stopped = false
  const renew = async (): Promise<number> => {
    try {
      const next = await issueControlCertificate(control, hosts)
      if (!stopped) use(next)
      return next.renewAtMs
    } catch (error) {
      log.error({ error: String(error) }, 'the server certificate could not be renewed')
      return nowMs(clock) + retryMs
    }
  }
  const arm = (atMs: number) =>
    clock.startTimer(Math.max(0, atMs - nowMs(clock)), () => {
      renew().then(
        (nextAtMs) => {
          if (!stopped) timer = arm(nextAtMs)
        },
        () => {},
      )
    })
  let timer = arm(firstAtMs)
  return () => {
    stopped = true
    timer.cancel()
  }
}
