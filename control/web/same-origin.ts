import type { FastifyRequest } from 'fastify'
import { notAllowed } from '../refusals.ts'

/** Links from anywhere may lead to a page; nothing else of another site asks for one (Fetch Metadata). Throws `not-allowed`. */
export function requireNavigation({ method, headers }: FastifyRequest): void {
  const site = headers['sec-fetch-site']
  if (site === undefined || site === 'same-origin' || site === 'none') return
  const isLink =
    method === 'GET' &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  if (!isLink) throw notAllowed('a page of another site asked for this', 'open the console itself')
}

/** A form of ours, and of no other site: browsers say of each POST where it is from. Throws `not-allowed`. */
export function requireOwnForm({ headers }: FastifyRequest, origin: string): void {
  const site = headers['sec-fetch-site']
  const isOwn = headers.origin === origin || headers.origin === `https://${headers.host}`
  if (isOwn && (site === undefined || site === 'same-origin')) return
  throw notAllowed('this form was not sent by a page of this console', 'open the console itself')
}
