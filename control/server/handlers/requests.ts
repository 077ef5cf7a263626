import type { Control } from '../../control.ts'
import { applyFlows } from '../../flows/apply-flows.ts'
import { showFlows } from '../../flows/show-flows.ts'
import { giveBack } from '../../grants/give-back.ts'
import { askExtension } from '../../requests/ask-extension.ts'
import { approveRequest, denyRequest } from '../../requests/decide-request.ts'
import { explainAccess, testFlows } from '../../requests/explain-access.ts'
import { getRequest, listRequests, type Viewer } from '../../requests/list-requests.ts'
import { makeRequest } from '../../requests/make-request.ts'
import { withdrawRequest } from '../../requests/withdraw-request.ts'
import { actorOf } from '../actor-of.ts'
import { asker, seesAll, type Handlers, type PersonCaller } from '../handlers.ts'

type RequestRoute =
  | 'why'
  | 'flows'
  | 'flowsApply'
  | 'flowsTest'
  | 'requests'
  | 'request'
  | 'requestMake'
  | 'requestApprove'
  | 'requestDeny'
  | 'requestWithdraw'
  | 'grantGiveBack'
  | 'extensionMake'

export function requestHandlers(control: Control): Pick<Handlers, RequestRoute> {
  return {
    why: ({ caller }, { params }) => explainAccess(control, asker(caller), params.name),
    flows: ({ caller }) => showFlows(control, seesAll(caller) ? undefined : caller),
    flowsApply: (request, { body }) => applyFlows(control, actorOf(request), body),
    flowsTest: ({ caller }, { body }) => testFlows(control, asker(caller), body),
    requests: ({ caller }, { query }) => listRequests(control, viewer(caller), query),
    request: ({ caller }, { params }) => getRequest(control, viewer(caller), params.id),
    requestMake: (request, { body }) => makeRequest(control, actorOf(request), body),
    requestApprove: (request, { params, body }) =>
      approveRequest(control, deciding(request), params.id, body),
    requestDeny: (request, { params, body }) =>
      denyRequest(control, deciding(request), params.id, body.comment),
    requestWithdraw: (request, { params, body }) =>
      withdrawRequest(control, deciding(request), params.id, body.reason),
    grantGiveBack: (request, { params, body }) =>
      giveBack(control, actorOf(request), params.id, body.reason),
    extensionMake: (request, { params, body }) =>
      askExtension(control, actorOf(request), params.id, body),
  }
}

function viewer(caller: PersonCaller): Viewer {
  return { ...asker(caller), seesAll: seesAll(caller) }
}

function deciding(request: Parameters<typeof actorOf>[0]) {
  const { caller } = request
  const login = caller.via === 'certificate' ? caller.login : null
  return {
    ...actorOf(request),
    seesAll: seesAll(caller),
    ...(login === null ? {} : { loginId: login.id }),
  }
}
