import { sleep } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import type { SignedIn } from '../../api/login.ts'
import type { Cli } from '../cli.ts'
import { isOutage } from '../is-outage.ts'
import type { HomeKeys } from '../home-keys.ts'
import { printable, printableJson } from '../printable.ts'
import { startProgress } from '../progress.ts'

/** Control says when it is over; this is for one that never says anything. */
const waitMsMax = 35 * 60_000

/** Shows a link and a code, and asks until somebody has signed in there. Opens nothing. */
export async function loginWithDevice(
  cli: Cli,
  api: ApiClient,
  ask: HomeKeys['ask'],
): Promise<SignedIn> {
  const begun = await api.call('loginDevice', { body: ask })
  const { id, secret, userCode, verificationUrl, verificationUrlComplete: complete } = begun
  if (cli.json) {
    const { endsAtMs } = begun
    cli.writeError(
      `${printableJson({ device: { userCode, verificationUrl, verificationUrlComplete: complete, endsAtMs } })}\n`,
    )
  } else {
    const code = cli.paintNote(printable(userCode), 'bold')
    const link = cli.paintNote(printable(complete ?? verificationUrl), 'cyan')
    cli.note(
      [
        'Open this link in a browser, here or on any other machine, and sign in:',
        `\n  ${link}\n`,
        complete === null
          ? `Type this code there: ${code}`
          : `It must show this code: ${code}  (to type it: ${printable(verificationUrl)})`,
        'This terminal goes on by itself. Never open such a link for somebody else.',
      ].join('\n'),
    )
  }
  const progress = startProgress(cli, 'waiting for you to sign in')
  const untilMs = cli.clock.monotonicMs() + waitMsMax
  let waitMs = begun.intervalMs
  try {
    for (;;) {
      await sleep(cli.clock, waitMs)
      try {
        const answer = await api.call('loginDevicePoll', { params: { id }, body: { secret } })
        if (answer.state === 'done') return answer
        waitMs = answer.intervalMs
      } catch (error) {
        if (!isPassing(error) || cli.clock.monotonicMs() > untilMs) throw error
        progress.update(`${printable(error.clientMessage)}; still trying`)
      }
    }
  } finally {
    progress.end()
  }
}

/** The provider or control may be away for a moment while somebody types their password. */
function isPassing(error: unknown): error is SallyportError {
  return (
    isOutage(error) || (error instanceof SallyportError && error.code === 'sign-in-unavailable')
  )
}
