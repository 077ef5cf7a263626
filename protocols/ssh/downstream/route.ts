import { SallyportError } from '../../kit/errors.ts'

export interface Route {
  /** Undefined: the user name is none of `account~resource`, so the connection is a jump. */
  readonly resource: string | undefined
  /** Account or level; '' for none. */
  readonly wanted: string
}

/** What `sally ssh-config` writes where the person named nobody: without it, OpenSSH sends the local user's name. */
const nobody = 'sallyport'

/**
 * What a login asks for. Inside of a jump the host is known, and the user name is the account; elsewhere it is `account~resource`, or the
 * login is the jump. Throws `name-conflict` if two names disagree.
 */
export function nameLogin(user: string, jumpedTo: string | undefined): Route {
  const tilde = user.lastIndexOf('~')
  const account = tilde < 0 ? user : user.slice(0, tilde)
  const named = tilde < 0 ? undefined : user.slice(tilde + 1).toLowerCase()
  const wanted = account === nobody ? '' : account
  if (jumpedTo === undefined) return { resource: named, wanted }
  if (named !== undefined && named !== jumpedTo) {
    throw new SallyportError('name-conflict', `user ${user} at host ${jumpedTo}`, {
      clientMessage: `the user name says "${named}" and the host name "${jumpedTo}"`,
      hint: 'Name the resource once: as the host, or after ~ in the user name.',
    })
  }
  return { resource: jumpedTo, wanted }
}

/** The resource of `<name>.<domain>`; undefined outside of the domain. */
export function resourceOfHost(host: string, domain: string): string | undefined {
  const name = host.toLowerCase().replace(/\.$/, '')
  const suffix = `.${domain.toLowerCase()}`
  const resource = name.endsWith(suffix) ? name.slice(0, -suffix.length) : ''
  return resource === '' || resource.includes('.') ? undefined : resource
}
