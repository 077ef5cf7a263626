/** What the pages work with. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Control } from '../control.ts'
import { findConsoleSession, type ConsolePerson } from '../login/console-session.ts'
import type { LoginContext } from '../login/login-context.ts'
import { consoleCookie, readCookies } from './cookies.ts'
import { page, policyOf, type PageParts } from './layout.ts'

export interface PageContext {
  readonly control: Control
  readonly login: LoginContext
  /** Origin of the console, as people know it. Asked for once control is up. */
  readonly origin: () => string
  /** The port that browsers know the proxies by. */
  readonly appsPort: number
}

export function whoIsThere(
  { control }: PageContext,
  request: FastifyRequest,
): Promise<ConsolePerson | undefined> {
  return findConsoleSession(control, readCookies(request.headers.cookie).get(consoleCookie))
}

export function addressOf(request: FastifyRequest): string {
  return request.raw.socket.remoteAddress ?? ''
}

export function show(reply: FastifyReply, status: number, parts: PageParts): FastifyReply {
  return reply
    .status(status)
    .header('content-security-policy', policyOf(parts))
    .type('text/html; charset=utf-8')
    .send(page(parts))
}

/** 303: whatever was asked, what follows is a GET (RFC 9110, 15.4.4). */
export function goTo(reply: FastifyReply, url: string): FastifyReply {
  return reply.redirect(url, 303)
}
