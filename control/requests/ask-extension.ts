import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { extensionMake, requestMade } from '../api/request.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { readFlows } from '../flows/read-flows.ts'
import { lockGrant, requireLive } from '../grants/change-grant.ts'
import { notFound } from '../refusals.ts'
import { askForExtension } from './ask.ts'
import { enter, requireActive, requireRoom } from './enter-request.ts'
import { holdPeople, holdResource } from './fulfil.ts'

/**
 * Asks for more time under the actor's own live grant, through the flow that fits today. Rejects with `not-found`, also for
 * another person's grant, `not-allowed`, `conflict` or `request-invalid`.
 */
export async function askExtension(
  control: Control,
  actor: Actor,
  grantId: string,
  ask: z.output<typeof extensionMake>,
): Promise<z.output<typeof requestMade>> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const flows = await readFlows(sql, control, { hold: true })
    const person = requireActive((await holdPeople(sql, realm, [actor.id], true)).get(actor.id))
    // The resource is held before the grant, as wherever resources change.
    const [found] = await sql.query<{ resource: string }>(
      'select resource from grants where realm = $1 and id = $2 and person_id = $3',
      [realm, grantId, actor.id],
    )
    if (found === undefined) throw notFound('grant')
    const resource = await holdResource(sql, realm, found.resource)
    const grant = await lockGrant(sql, realm, grantId)
    requireLive(control, grant)
    if (resource === undefined) throw notFound('grant')
    const atMs = nowMs(control.clock)
    const request = askForExtension(flows, person, resource, grant, ask, { id: randomUUID(), atMs })
    await requireRoom(sql, realm, request)
    return enter(sql, control, actor, request, { person, resource, atMs })
  })
}
