/** What the server hands to the functions behind its routes, and what it expects back. */
import type { KeyObject } from 'node:crypto'
import type { z } from 'zod'
import type { Role, TokenScope } from '../api/names.ts'
import type { Answer, RouteName, routes } from '../api/routes.ts'
import type { Login } from '../api/shapes.ts'

interface CallingPerson {
  readonly kind: 'person'
  readonly id: string
  readonly email: string
  readonly name: string
  readonly roles: readonly Role[]
  readonly groups: readonly string[]
  readonly createdAtMs: number
}

/** A signed-in person, the row as it was when the request came, and what they were identified by. */
export type PersonCaller = CallingPerson &
  (
    | {
        readonly via: 'certificate'
        readonly certificate: { readonly serial: string; readonly expiresAtMs: number }
        /** The sign-in that the certificate belongs to; null where an admin issued it. */
        readonly login: Login | null
      }
    | {
        readonly via: 'token'
        readonly token: {
          readonly id: string
          readonly scope: TokenScope
          readonly expiresAtMs: number
        }
      }
  )

export interface ProxyCaller {
  readonly kind: 'proxy'
  readonly id: string
  readonly name: string
  readonly group: string
  readonly certificateSerial: string
  /** Of its client certificate; it signs its checkpoints with it. */
  readonly publicKey: KeyObject
  /** `Signer.kid` of that key. */
  readonly kid: string
}

export interface AnyoneCaller {
  readonly kind: 'anyone'
}

type RouteTable = typeof routes
/** Who may be behind a call, as the route's `access` says. */
export type CallerOf<N extends RouteName> = RouteTable[N]['access'] extends 'anyone'
  ? AnyoneCaller
  : RouteTable[N]['access'] extends 'proxy'
    ? ProxyCaller
    : PersonCaller

/** One thing that control did or let somebody do, for control's own chain. */
export interface ControlAction {
  /** For example `grant.made`, `audit.read`. */
  readonly action: string
  /** What it was done to: a grant, a resource, a session, or the words of a search. At most 512 characters. */
  readonly target: string
  /** Goes into the payload: kept encrypted, can be deleted by law. */
  readonly details: Readonly<Record<string, unknown>>
}

export interface RequestContext<N extends RouteName = RouteName> {
  readonly realm: string
  readonly requestId: string
  readonly remoteAddress: string
  readonly caller: CallerOf<N>
  /**
   * Writes an action of this caller into control's own chain, in a transaction of its own; resolves once it is durable. For
   * actions without a change of the state (readings of the audit): await it before what was read is answered. Its number in
   * the chain.
   */
  audit(action: ControlAction): Promise<number>
}

type Parsed<R, K extends string> = R extends { readonly [key in K]: infer T extends z.ZodType }
  ? z.output<T>
  : undefined

/** A call as its schemas let it through. */
export interface ParsedCall<N extends RouteName> {
  readonly params: Parsed<RouteTable[N], 'params'>
  readonly query: Parsed<RouteTable[N], 'query'>
  readonly body: Parsed<RouteTable[N], 'body'>
  /** The bytes, for routes with a binary body; else empty. */
  readonly binaryBody: Buffer
  /** Lower-case names; the last of several values. */
  header(name: string): string | undefined
}

export type Handler<N extends RouteName> = (
  context: RequestContext<N>,
  call: ParsedCall<N>,
) => Promise<Answer<N>>

export type Handlers = { readonly [N in RouteName]: Handler<N> }

/** Whether the caller sees everybody's, or only their own. */
export function seesAll(caller: PersonCaller): boolean {
  return caller.roles.includes('admin') || caller.roles.includes('auditor')
}

/** Whose things a caller may see: one person's id, or undefined for everybody's. */
export function ownScope(caller: PersonCaller): string | undefined {
  return seesAll(caller) ? undefined : caller.id
}

/** The caller as access flows know them. An auditor neither asks nor decides: no flow is told who they are. */
export function asker({ id, email, groups, roles }: PersonCaller) {
  const takesPart = roles.some((one) => one !== 'auditor')
  return takesPart ? { id, email, groups } : { id, email: '', groups: [] }
}
