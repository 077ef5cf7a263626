import type { z } from 'zod'
import type { flowsView } from '../api/request.ts'
import type { Control } from '../control.ts'
import { approversOf, isAmong, type Somebody } from './choose-flow.ts'
import { readFlows } from './read-flows.ts'

/** `viewer`: only flows by which this person may ask or decide; undefined: all. */
export async function showFlows(
  control: Pick<Control, 'realm' | 'state'>,
  viewer: Somebody | undefined,
): Promise<z.output<typeof flowsView>> {
  const { flows, ...rest } = await readFlows(control.state, control)
  const shown = flows.filter(
    (flow) =>
      viewer === undefined || isAmong(flow.who, viewer) || isAmong(approversOf(flow), viewer),
  )
  return { ...rest, flows: [...shown] }
}
