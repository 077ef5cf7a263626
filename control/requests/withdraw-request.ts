import type { AccessRequest } from '../api/request.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Control } from '../control.ts'
import { notFound } from '../refusals.ts'
import { withdraw } from './decide.ts'
import type { DecidingActor } from './decide-request.ts'
import { holdPeople } from './fulfil.ts'
import { isVisibleTo, lockRequest, updateRequest, viewOf } from './request-row.ts'

/** Takes the actor's own request back. Rejects with `not-found`, `not-allowed` or `conflict`. */
export async function withdrawRequest(
  control: Control,
  actor: DecidingActor,
  id: string,
  reason: string,
): Promise<AccessRequest> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const person = (await holdPeople(sql, realm, [actor.id])).get(actor.id)
    if (person === undefined) throw notFound('request')
    const before = await lockRequest(sql, realm, id)
    if (!actor.seesAll && !isVisibleTo(before, person)) throw notFound('request')
    const atMs = nowMs(control.clock)
    const request = withdraw(before, actor.id, atMs)
    if (request !== before) {
      await updateRequest(sql, realm, request)
      await appendControlAction(sql, control.chain, actor, {
        action: 'request.withdrawn',
        target: id,
        details: {
          kind: request.kind,
          resource: request.resource,
          level: request.level,
          reason: reason.trim(),
        },
      })
    }
    return viewOf(request, person, atMs)
  })
}
