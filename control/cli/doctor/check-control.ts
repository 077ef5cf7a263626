import type { Clock } from '../../../protocols/kit/clock.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { formatDuration } from '../../api/duration.ts'
import type { Home } from '../home.ts'
import { signInHint } from '../sign-in-hint.ts'
import { openApi } from '../with-api.ts'
import { failed, ok, warn, type Check } from './check.ts'
import { checkProxies } from './check-proxies.ts'

const answerMs = 5_000
/** Proxies refuse sessions past this (ARCHITECTURE.md); here it makes times and certificates misleading. */
const skewMsMax = 2_000

/** That control is there, is who it should be, knows us, and has the same time. */
export async function checkControl(home: Home, clock: Clock): Promise<Check[]> {
  const { controlUrl } = home.config
  const renew = signInHint
  try {
    const api = openApi(home, { timeoutMs: answerMs })
    try {
      const health = await api.call('health')
      const control = health.ok
        ? ok('control', `${controlUrl} answers, and its certificate is the expected one`)
        : warn('control', `${controlUrl} answers but is not well`, 'look at control’s log')
      const sentMs = clock.wallMs()
      const { person, controlTimeMs } = await api.call('whoami')
      // The answer was made about half-way between question and arrival.
      const skewMs = Math.abs(controlTimeMs - (sentMs + clock.wallMs()) / 2)
      return [
        control,
        ok('signed in', `as ${person.email} (${person.roles.join(', ')})`),
        skewMs > skewMsMax
          ? warn(
              'clock',
              `${formatDuration(skewMs)} apart from control’s`,
              'timedatectl set-ntp true',
            )
          : ok('clock', 'agrees with control’s'),
        ...(await checkProxies(api, person.roles)),
      ]
    } finally {
      api.close()
    }
  } catch (error) {
    const signedOut = error instanceof SallyportError && error.code.startsWith('evidence-')
    if (signedOut) {
      return [ok('control', `${controlUrl} answers`), failed('signed in', error, renew)]
    }
    return [failed('control', error, '')].map((check) => ({
      ...check,
      mend: `is control running, and is ${controlUrl} right in ${home.files.config}?`,
    }))
  }
}
