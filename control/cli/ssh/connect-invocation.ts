import { existsSync } from 'node:fs'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Level } from '../../api/names.ts'
import type { Home } from '../home.ts'
import { writeClientConfig } from './client-config.ts'

export interface SshTarget {
  readonly resource: string
  /** As control knows it; else made of the resource and the home's domain. */
  readonly hostname?: string | undefined
  readonly level?: Level | undefined
}

/**
 * What ssh is started with: a configuration of our own, so that nothing in ~/.ssh/config is needed or in the way. Options and a
 * command of the caller may follow, as after any host. Throws `evidence-missing` or `config-invalid`.
 */
export function sshArguments(home: Home, target: SshTarget): string[] {
  const { config, files } = home
  const hostname = target.hostname ?? `${target.resource}.${config.domain}`
  if (hostname !== `${target.resource}.${config.domain}`) {
    throw new SallyportError('config-invalid', `${hostname} is not of ${config.domain}`, {
      clientMessage: `${hostname} belongs to another group of proxies than this home knows (${config.domain})`,
      hint: 'ask its operator for the address of that group, and use a home made for it',
    })
  }
  if (!existsSync(files.ssh.certificate)) {
    throw new SallyportError('evidence-missing', 'no SSH certificate in the home', {
      clientMessage: `${files.directory} has no SSH certificate`,
      hint: 'renew the home: sally login --refresh, or sally login',
    })
  }
  writeClientConfig(home)
  const account = target.level === undefined ? [] : ['-l', target.level]
  return ['-F', files.ssh.config, ...account, hostname]
}
