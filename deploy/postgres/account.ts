import { readFileSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Account } from '../account.ts'

/**
 * Who runs PostgreSQL. It refuses to run as root, so root lends it to `postgres`, or to `nobody` where there is no such
 * account; everybody else runs it themselves (undefined).
 * @throws SallyportError `config-invalid` if root finds neither.
 */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  for (const name of ['postgres', 'nobody']) {
    const fields = lines.find((line) => line.startsWith(`${name}:`))?.split(':')
    const [uid, gid] = [Number(fields?.[2]), Number(fields?.[3])]
    if (uid > 0 && gid > 0) return { uid, gid }
  }
  throw new SallyportError('config-invalid', 'neither postgres nor nobody is in /etc/passwd', {
    clientMessage:
      'PostgreSQL refuses to run as root, and this system has no account to lend it to',
    hint: 'run this as another user, or add the account: useradd --system postgres',
  })
}
