import { SallyportError } from '../../kit/errors.ts'

export interface Route {
  /** Lower case. */
  readonly resource: string
  /** Level or account, or ''. */
  readonly wanted: string
}

/**
 * Which resource the client means: `<resource>.<domain>` as TLS server name, or the login name
 * `<level or account>~<resource>`. Without `~` the login name says nothing: psql sends the name of the person's
 * account at their own machine. Throws `name-missing` or `name-conflict`.
 */
export function nameResource(serverName: string | undefined, user: string, domain: string): Route {
  const byHost = hostLabel(serverName?.toLowerCase(), domain.toLowerCase())
  const tilde = user.lastIndexOf('~')
  const byUser = tilde < 0 ? '' : user.slice(tilde + 1).toLowerCase()
  const wanted = tilde < 0 ? '' : user.slice(0, tilde)
  if (byHost !== '' && byUser !== '' && byHost !== byUser) {
    throw new SallyportError('name-conflict', `host names ${byHost}, user names ${byUser}`, {
      clientMessage: 'the host name and the user name ask for two different resources',
      hint: `Connect to <resource>.${domain}, or give the user as <level>~<resource>, with one resource.`,
    })
  }
  const resource = byHost === '' ? byUser : byHost
  if (resource === '') {
    throw new SallyportError('name-missing', 'the client named no resource', {
      clientMessage: 'which resource? Neither the host name nor the user name says it',
      hint:
        `Connect to host <resource>.${domain} (with hostaddr, if that name does not resolve), ` +
        'or give the user as ~<resource>.',
    })
  }
  return { resource, wanted }
}

function hostLabel(serverName: string | undefined, domain: string): string {
  if (serverName === undefined || !serverName.endsWith(`.${domain}`)) return ''
  return serverName.slice(0, -domain.length - 1)
}
