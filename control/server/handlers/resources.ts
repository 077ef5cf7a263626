import type { Control } from '../../control.ts'
import { applyResources, type CountLiveSessions } from '../../resources/apply-resources.ts'
import { listResources } from '../../resources/list-resources.ts'
import { actorOf } from '../actor-of.ts'
import { asker, seesAll, type Handlers } from '../handlers.ts'

type ResourceRoute = 'resources' | 'resourcesApply'

export function resourceHandlers(
  control: Control,
  countLiveSessions: CountLiveSessions,
): Pick<Handlers, ResourceRoute> {
  return {
    resources: ({ caller }, { query }) =>
      listResources(control, asker(caller), seesAll(caller), query),
    resourcesApply: (request, { body }) =>
      applyResources(control, actorOf(request), body, countLiveSessions),
  }
}
