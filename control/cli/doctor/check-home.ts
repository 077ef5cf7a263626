import { X509Certificate, createPrivateKey } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { Clock } from '../../../protocols/kit/clock.ts'
import { readPrivateFile } from '../../../protocols/kit/private-file.ts'
import { formatDuration } from '../../api/duration.ts'
import type { Home, HomeFiles } from '../home.ts'
import { signInHint } from '../sign-in-hint.ts'
import { fail, failed, ok, warn, type Check } from './check.ts'

const soonMs = 3_600_000

/** The home's directory and files, and that nobody else can read the key. */
export function checkHomeFiles(files: HomeFiles): Check[] {
  const name = 'home'
  try {
    const { mode } = statSync(files.directory)
    // What others may change is refused before this: what they may look at is said.
    return [
      (mode & 0o077) === 0
        ? ok(name, files.directory)
        : warn(name, `others may look into ${files.directory}`, `chmod 700 ${files.directory}`),
    ]
  } catch (error) {
    return [failed(name, error, signInHint)]
  }
}

export function checkCertificate(home: Home, clock: Clock): Check {
  const name = 'certificate'
  const renew = signInHint
  try {
    const certificate = new X509Certificate(readFileSync(home.files.certificate))
    const key = createPrivateKey(readPrivateFile(home.files.key))
    if (!certificate.checkPrivateKey(key)) {
      return fail(name, 'cert.pem and key.pem do not belong together', renew)
    }
    const leftMs = certificate.validToDate.getTime() - clock.wallMs()
    if (certificate.validFromDate.getTime() > clock.wallMs()) {
      return fail(
        name,
        'is not valid yet: is this machine’s clock behind?',
        'timedatectl set-ntp true',
      )
    }
    if (leftMs <= 0) return fail(name, `ended ${formatDuration(-leftMs)} ago`, renew)
    if (leftMs < soonMs) return warn(name, `ends in ${formatDuration(leftMs)}`, renew)
    return ok(name, `${home.config.email}, ends in ${formatDuration(leftMs)}`)
  } catch (error) {
    return failed(name, error, renew)
  }
}
