/** While a request waits for its approvals: the page looks again by itself until somebody has decided. */
import { formatDuration } from '../api/duration.ts'
import type { AccessRequest } from '../api/request.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { markup } from './html.ts'
import type { PageParts } from './layout.ts'
import { agoOf, namesOf } from './words.ts'

const everySeconds = 3

export function waitingPage(parts: {
  person: ConsolePerson
  request: AccessRequest
  path: string
  atMs: number
}): PageParts {
  const { person, request, path, atMs } = parts
  const { resource, level, forMs, reason, approvers, approvalsNeeded, decisions } = request
  const yes = decisions.filter(({ verdict, lapsed }) => verdict === 'approve' && lapsed !== true)
  const left = approvalsNeeded - yes.length
  const title = `Waiting for access to ${resource}`
  const body = markup`<h1><span class="dots">${title}</span></h1>
    <p class="lead">
      This page goes on to ${resource} by itself as soon as you may. You can leave it open.
    </p>
    <div class="card">
      <dl>
        <dt>Asked for</dt>
        <dd>
          ${level} for ${formatDuration(forMs)}, ${agoOf(atMs - request.madeAtMs)}
        </dd>
        ${
          reason === ''
            ? undefined
            : markup`<dt>Why</dt>
                <dd>${reason}</dd>`
        }
        <dt>Still needed</dt>
        <dd>
          <span role="status"
            >${left === 1 ? 'one yes' : `${left} times yes`} of ${namesOf(approvers)}</span
          >
        </dd>
        <dt>Said yes</dt>
        <dd>
          <span role="status"
            >${yes.length === 0 ? 'nobody yet' : yes.map(({ personEmail }) => personEmail).join(', ')}</span
          >
        </dd>
        <dt>Ends unanswered</dt>
        <dd>in ${formatDuration(request.answerByMs - atMs)}</dd>
      </dl>
    </div>
    <p
      id="trouble"
      class="trouble"
      role="status"
      data-words="Sallyport does not answer at the moment. This page keeps trying; your request waits all the same."
    ></p>
    <h2>At a terminal</h2>
    <p>Whoever decides:</p>
    <pre>sally approve ${request.id}</pre>
    <p>To take it back:</p>
    <pre>sally withdraw ${request.id}</pre>
    <p><a href="${path}">Look again now</a></p>`
  return { title, body, person, follow: { afterSeconds: everySeconds, path } }
}

/** After a form: a redirect from it to an app would be one of the form's, which its page does not allow. */
export function goOnPage(person: ConsolePerson, resource: string, path: string): PageParts {
  const title = `You may open ${resource}`
  const body = markup`<h1>${title}</h1>
    <p class="lead">Going on to it…</p>
    <p><a class="button" href="${path}">Open ${resource}</a></p>`
  return { title, body, person, refresh: { afterSeconds: 0, path } }
}
