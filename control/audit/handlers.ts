/** The API's routes about the audit and about sessions. */
import { SallyportError } from '../../protocols/kit/errors.ts'
import { checkpointHeader } from '../api/routes.ts'
import { notAllowed } from '../refusals.ts'
import { seesAll, type Handlers, type PersonCaller } from '../server/handlers.ts'
import { readAuditKeys } from './audit-keys.ts'
import { storeBlobPart } from './blobs.ts'
import type { AuditContext } from './dependencies.ts'
import { readIndexLagMs, type Indexer } from './indexer.ts'
import { quarantine } from './quarantine.ts'
import { readSegments, type ReadControlSegments } from './read-segments.ts'
import { createRecordingHandlers } from './recording-readings.ts'
import type { ReadAction } from './readings.ts'
import { createWatches } from './watches.ts'
import { searchActivities } from './search-activities.ts'
import { getSession, listSessions, type SessionScope } from './sessions.ts'
import { readAuditStatus, type ReadProxyPresence } from './status.ts'
import { storeSegments } from './store-segments.ts'

export interface AuditHandlerDependencies {
  readonly context: AuditContext
  readonly indexer: Pick<Indexer, 'ring'>
  readonly readControlSegments: ReadControlSegments
  readonly readProxyPresence: ReadProxyPresence
  readonly readAction: ReadAction
  /** Aborts when control stops: nothing waits any more. */
  readonly stopping: AbortSignal
}

type AuditRoute =
  | 'sessions'
  | 'session'
  | 'sessionWatch'
  | 'recordings'
  | 'recordingRead'
  | 'auditSearch'
  | 'auditSegments'
  | 'auditKeys'
  | 'auditStatus'
  | 'proxySegments'
  | 'proxyBlob'
  | 'proxyQuarantine'

export function auditHandlers({
  context,
  indexer,
  readControlSegments,
  readProxyPresence,
  readAction,
  stopping,
}: AuditHandlerDependencies): Pick<Handlers, AuditRoute> {
  return {
    sessionWatch: createWatches({ context, readAction, stopping }),

    ...createRecordingHandlers({ context, readAction, stopping }),

    sessions: ({ caller }, { query }) => listSessions(context, query, scopeOf(caller)),

    session: ({ caller }, { params }) => getSession(context, params.id, scopeOf(caller)),

    async auditSearch(request, { query }) {
      // Who looks is on record before they see anything.
      await request.audit({ action: 'audit.read', target: 'activities', details: { ...query } })
      const page = await searchActivities(context, query)
      return { ...page, indexLagMs: await readIndexLagMs(context) }
    },

    async auditSegments(request, { query }) {
      // To read payloads is a permission of its own: an admin verifies the chains without them.
      if (query.payloads === 'with' && !request.caller.roles.includes('auditor')) {
        throw notAllowed('payloads of the audit are for auditors', 'read them without payloads')
      }
      // Every page with payloads; of skeletons only the first, because the rest is the same reading.
      if (query.payloads === 'with' || query.cursor === undefined) {
        const action = query.payloads === 'with' ? 'audit.read' : 'audit.verified'
        await request.audit({ action, target: 'segments', details: { ...query } })
      }
      return readSegments(context, query, readControlSegments)
    },

    auditKeys: () => readAuditKeys(context),

    auditStatus: () => readAuditStatus(context, readProxyPresence),

    async proxySegments({ caller }, call) {
      const checkpoint = call.header(checkpointHeader)
      if (checkpoint === undefined || checkpoint.length > 8_192) {
        throw new SallyportError('request-invalid', `proxy ${caller.id} sent no checkpoint`, {
          clientMessage: `the header ${checkpointHeader} must hold the signed head`,
        })
      }
      const proxy = { proxyId: caller.id, publicKey: caller.publicKey, kid: caller.kid }
      const stored = await storeSegments(context, { proxy, body: call.binaryBody, checkpoint })
      indexer.ring()
      return stored
    },

    async proxyBlob({ caller }, { params, query, binaryBody }) {
      await storeBlobPart(context, {
        proxyId: caller.id,
        session: query.session,
        sha256: params.sha256,
        offset: query.offset,
        total: query.total,
        bytes: binaryBody,
      })
      return { done: true }
    },

    async proxyQuarantine({ caller }, { query, binaryBody }) {
      const why = `sent by the proxy: ${query.why}`
      await quarantine(context, { proxyId: caller.id, bytes: binaryBody, why, batches: 0 })
      return { done: true }
    },
  }
}

/** Engineers see their own sessions, admins and auditors all. */
function scopeOf(caller: PersonCaller): SessionScope {
  return { personId: seesAll(caller) ? undefined : caller.id }
}
