/** What a route is. The routes themselves are in routes.ts. */
import type { z } from 'zod'
import type { TokenScope } from './names.ts'

/** Who a caller must be. `anyone` answers without evidence; `proxy` needs a proxy's certificate. */
export type Access = 'anyone' | 'proxy' | readonly ('engineer' | 'admin' | 'auditor')[]

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path with `{name}` parameters. */
  readonly path: string
  readonly summary: string
  readonly access: Access
  /**
   * The scope that an API token needs here; without it none is let in. A token of scope `request` may also what `read` may.
   * Nothing that decides, makes tokens, changes people, flows or resources, or reads payloads of the audit has one.
   */
  readonly token?: TokenScope
  /** Needs the certificate of a sign-in: with one that an admin issued, the admin could be whom it names. */
  readonly signedIn?: true
  readonly params?: z.ZodType
  readonly query?: z.ZodType
  readonly body?: z.ZodType
  /** Set instead of `body` where the body is bytes. */
  readonly binaryBody?: { readonly contentType: string; readonly bytesMax: number }
  readonly response: z.ZodType
}
