import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import type { requestMade, requestMake } from '../api/request.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { readFlows } from '../flows/read-flows.ts'
import { conflict } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { askForAccess } from './ask.ts'
import { holdPeople, holdResource } from './fulfil.ts'
import { enter, requireActive, requireRoom } from './enter-request.ts'

/**
 * Asks for access. Where the flow approves automatically the grant starts now; request, grant, event and records are one
 * transaction. `isNeeded` is asked with the person held, so that of two at once the second knows of the first. Rejects with `not-found`,
 * `not-allowed`, `conflict`, `rate-limited` or `request-invalid`.
 */
export async function makeRequest(
  control: Control,
  actor: Actor,
  ask: z.output<typeof requestMake>,
  isNeeded: (sql: Sql) => Promise<boolean> = () => Promise.resolve(true),
): Promise<z.output<typeof requestMade>> {
  const { realm } = control
  return control.state.transaction(async (sql) => {
    const flows = await readFlows(sql, control, { hold: true })
    const person = requireActive((await holdPeople(sql, realm, [actor.id], true)).get(actor.id))
    if (!(await isNeeded(sql))) throw conflict('you have this access already', 'use it')
    const resource = await holdResource(sql, realm, ask.resource)
    const atMs = nowMs(control.clock)
    const request = askForAccess(flows, person, resource, ask, { id: randomUUID(), atMs })
    await requireRoom(sql, realm, request)
    return enter(sql, control, actor, request, { person, resource, atMs })
  })
}
