import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Clock } from '../../protocols/kit/clock.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Home } from './home.ts'
import { signInHint } from './sign-in-hint.ts'
import { relativeTime } from './show-time.ts'

/** When the home's certificate ends, Unix milliseconds. Throws `config-invalid` for a file that is none. */
export function certificateEndMs(home: Home): number {
  try {
    return new X509Certificate(readFileSync(home.files.certificate)).validToDate.getTime()
  } catch (error) {
    throw new SallyportError('config-invalid', `${home.files.certificate} is not a certificate`, {
      clientMessage: `${home.files.certificate} is not a certificate`,
      hint: signInHint,
      cause: error,
    })
  }
}

/** A clear word before a handshake fails for a reason that few clients can explain. */
export function refuseExpiredCertificate(home: Home, clock: Clock): void {
  const endMs = certificateEndMs(home)
  if (endMs > clock.wallMs()) return
  throw new SallyportError('evidence-expired', 'the certificate has ended', {
    clientMessage: `your certificate ended ${relativeTime(endMs, clock.wallMs())}`,
    hint: signInHint,
  })
}
