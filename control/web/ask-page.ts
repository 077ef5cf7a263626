/** The page for who has no grant for an app: what would let them in, and a form that asks for it with one click. */
import { formatDuration } from '../api/duration.ts'
import { level as levels, type Level } from '../api/names.ts'
import type { Why } from '../api/request.ts'
import type { LastEnd, LastRefusal } from '../apps/last-end.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { markup, type Html } from './html.ts'
import type { PageParts } from './layout.ts'
import { agoOf, namesOf } from './words.ts'

export interface AskPageParts {
  readonly person: ConsolePerson
  readonly visitToken: string
  readonly wanted: Level
  readonly why: Why
  readonly lastEnd: LastEnd | undefined
  readonly refusal: LastRefusal | undefined
  readonly atMs: number
  /** What was wrong with the form as it was sent, and what was in it. */
  readonly complaint?: string
  readonly given?: { readonly level: string; readonly forMs: string; readonly reason: string }
}

const minuteMs = 60_000
const hourMs = 3_600_000
const usualTimes = [
  ...[15 * minuteMs, 30 * minuteMs, hourMs, 2 * hourMs, 4 * hourMs, 8 * hourMs, 24 * hourMs],
  ...[72 * hourMs, 168 * hourMs, 720 * hourMs],
]

export function askPage(parts: AskPageParts): PageParts {
  const { person, why, wanted, complaint } = parts
  const { resource, grants, ways } = why
  const lower = grants[0]
  const title =
    lower === undefined ? `No access to ${resource} now` : `This needs ${wanted} on ${resource}`
  const body = markup`<h1>${title}</h1>
    ${complaint === undefined ? undefined : markup`<p class="note bad" role="alert">${complaint}</p>`}
    ${endNote(parts)}${refusalNote(parts)}
    ${
      lower === undefined
        ? undefined
        : markup`<p class="note">
            You have <strong>${lower.level}</strong> for another
            ${formatDuration(lower.expiresAtMs - parts.atMs)}. What you want to do needs
            <strong>${wanted}</strong>.
          </p>`
    }
    ${ways.length === 0 ? markup`<p>No access flow lets you ask for more at the moment. Ask an admin.</p>` : form(parts)}`
  return { title, body, person }
}

function form({ person, visitToken, why, wanted, given }: AskPageParts): Html {
  const { resource, ways } = why
  const offered = levels.options.filter((level) => ways.some((way) => way.level === level))
  const enough = offered.filter((level) => isAtLeast(level, wanted))
  const chosen =
    offered.find((level) => level === given?.level) ?? enough[0] ?? offered.at(-1) ?? wanted
  const first = ways.find((way) => way.level === chosen)!
  const longestMs = Math.max(...ways.map((way) => way.longestMs))
  const times = [...new Set([...usualTimes, ...ways.map((way) => way.defaultMs), longestMs])]
    .filter((ms) => ms <= longestMs)
    .toSorted((one, other) => one - other)
  const chosenMs = Number(given?.forMs ?? first.defaultMs)
  const needed = ways.every((way) => way.reasonRequired)
  return markup`${
    enough.length > 0
      ? undefined
      : markup`<p class="note warn">
            No flow lets you ask for <strong>${wanted}</strong> of ${resource}, which this needs.
            You can ask for less.
          </p>`
  }
    <p class="lead">You can ask for it here; then you go on to where you wanted to.</p>
    <form class="card" method="post" action="/apps/request">
      <input type="hidden" name="visit" value="${visitToken}" /><input
        type="hidden"
        name="token"
        value="${person.formToken}"
      />
      <p>
        <label for="reason"
          >Why ${needed ? undefined : markup`<span class="quiet">(not needed)</span>`}</label
        >
        <input
          id="reason"
          name="reason"
          maxlength="1000"
          autocomplete="off"
          placeholder="A ticket, or a few words"
          value="${given?.reason ?? ''}"
          ${needed ? markup`required` : undefined}
          autofocus
        />
      </p>
      <div class="pair">
        <p>
          <label for="level">Level</label
          ><select id="level" name="level">
            ${offered.map((level) => option(level, level, level === chosen))}
          </select>
        </p>
        <p>
          <label for="for">For how long</label
          ><select id="for" name="forMs">
            ${times.map((ms) => option(String(ms), formatDuration(ms), ms === chosenMs))}
          </select>
        </p>
      </div>
      <p><button type="submit">Request access</button></p>
    </form>
    <h2>Who decides</h2>
    <ul>
      ${ways.map((way) => markup`<li><strong>${way.level}</strong> for up to ${formatDuration(way.longestMs)}: ${deciders(way)} <span class="quiet">(flow ${way.flow})</span></li>`)}
    </ul>
    <details>
      <summary>The same at a terminal</summary>
      <pre>sally request ${resource} --level ${chosen} --reason "…" --wait</pre>
      <p class="quiet">Then load this page again.</p>
    </details>`
}

function deciders({ approvalsNeeded, approvers }: Why['ways'][number]): Html {
  if (approvalsNeeded === 0) return markup`at once, nobody is asked`
  return markup`${approvalsNeeded === 1 ? 'one' : approvalsNeeded} of ${namesOf(approvers)}`
}

function option(value: string, text: string, selected: boolean): Html {
  return markup`<option value="${value}" ${selected ? markup`selected` : undefined}>${text}</option>`
}

function endNote({ lastEnd, atMs }: AskPageParts): Html | undefined {
  if (lastEnd === undefined) return undefined
  const ago = agoOf(atMs - lastEnd.atMs)
  if (lastEnd.revoked === undefined) {
    return markup`<p class="note warn">
      Your <strong>${lastEnd.level}</strong> access ended ${ago}: its time was over.
    </p>`
  }
  const { by, reason } = lastEnd.revoked
  return markup`<p class="note warn">
    Your <strong>${lastEnd.level}</strong> access was ended ${ago} by
    ${by}${reason === '' ? '.' : markup`: “${reason}”`}
  </p>`
}

function refusalNote({ refusal }: AskPageParts): Html | undefined {
  if (refusal === undefined) return undefined
  return markup`<p class="note bad">
    Your request for <strong>${refusal.level}</strong> was denied by
    ${refusal.by}${refusal.comment === '' ? '.' : markup`: “${refusal.comment}”`}
  </p>`
}

function isAtLeast(level: Level, wanted: Level): boolean {
  return levels.options.indexOf(level) >= levels.options.indexOf(wanted)
}
