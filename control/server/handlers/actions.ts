import { listActions } from '../../chain/list-actions.ts'
import type { Control } from '../../control.ts'
import type { Handlers } from '../handlers.ts'

export function actionHandlers(control: Control): Pick<Handlers, 'auditActions'> {
  return {
    async auditActions(request, { query }) {
      const page = await listActions(control.state, control.chain, query)
      // Details are payloads: that they were read is on record before they go out.
      await request.audit({
        action: 'audit.read',
        target: 'actions',
        details: { limit: query.limit, cursor: query.cursor ?? null },
      })
      return page
    },
  }
}
