import type { Problem } from '../api/problem.ts'
import { markup } from './html.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import type { PageParts } from './layout.ts'

/** What a page says of a refusal: what the API would, in the words of a browser. */
export function refusalPage(
  { code, detail, status, hint }: Problem,
  where: { readonly person: ConsolePerson | undefined; readonly isOfApp: boolean },
): PageParts {
  const { person, isOfApp } = where
  const title =
    code === 'not-found'
      ? 'There is nothing here'
      : code === 'rate-limited'
        ? 'Too many at once'
        : code.startsWith('sign-in')
          ? 'You are not signed in'
          : status >= 500
            ? 'That did not work'
            : 'That was refused'
  // Hints for a terminal help nobody here.
  const next =
    hint === undefined || hint.includes('sally login')
      ? undefined
      : markup`<p>${sentence(hint)}</p>`
  // The same for what there is not and for what is not theirs.
  const who =
    code === 'not-found' && isOfApp && person !== undefined
      ? markup`<p>
            You are signed in as <strong>${person.email}</strong>. If this is the right address, ask
            an admin for an access flow that names you, or <a href="/sign-out">sign out</a> to come
            as somebody else.
          </p>`
      : undefined
  const again = code.startsWith('sign-in')
    ? markup`<p><a class="button" href="/sign-in?next=%2F">Sign in again</a></p>`
    : markup`<p><a class="button second" href="/">To your apps</a></p>`
  const body = markup`<h1>${title}</h1>
    <p class="lead">${sentence(detail)}</p>
    ${next}${who}${again}`
  return { title, body, person }
}

export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}
