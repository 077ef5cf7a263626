import { formatDuration } from '../api/duration.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { markup } from './html.ts'
import type { PageParts } from './layout.ts'

export function signOutPage(person: ConsolePerson | undefined, atMs: number): PageParts {
  const title = 'Sign out'
  if (person === undefined) {
    const body = markup`<h1>Nobody is signed in with this browser</h1>
      <p><a class="button" href="/sign-in?next=%2F">Sign in</a></p>`
    return { title, body, person }
  }
  const body = markup`<h1>Sign out everywhere?</h1>
    <p class="lead">
      You are <strong>${person.email}</strong>, for another
      ${formatDuration(person.endsAtMs - atMs)}.
    </p>
    <form class="card" method="post" action="/sign-out">
      <p>
        This ends every app that you opened with this browser, at once. What you were granted stays
        yours, and so do sign-ins of <code>sally</code>.
      </p>
      <input type="hidden" name="token" value="${person.formToken}" />
      <p><button type="submit">Sign out</button></p>
    </form>
    <p><a href="/">Stay signed in</a></p>`
  return { title, body, person }
}

export function signedOutPage(endSessionUrl: string | null): PageParts {
  const title = 'Signed out'
  const body = markup`<h1>You are signed out</h1>
    <p class="lead">The console and every app that you opened with this browser are closed.</p>
    ${
      endSessionUrl === null
        ? undefined
        : markup`<p>
              Your identity provider may still know this browser, and would let it in again without
              a question.
            </p>
            <p><a class="button" href="${endSessionUrl}">Sign out there too</a></p>`
    }
    <p><a href="/sign-in?next=%2F">Sign in again</a></p>`
  return { title, body, person: undefined }
}
