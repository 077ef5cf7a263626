import type { Resource } from '../../control/api/resource.ts'
import type { Level, Session } from '../../protocols/session.ts'
import { httpTermsOf } from './http-terms.ts'
import { sshTermsOf } from './ssh-terms.ts'

/** The terms that a session has by its resource's protocol. */
export function termsOf(resource: Resource, level: Level): Pick<Session, 'ssh' | 'http'> {
  const ssh = sshTermsOf(resource, level)
  const http = httpTermsOf(resource)
  return { ...(ssh === undefined ? {} : { ssh }), ...(http === undefined ? {} : { http }) }
}
