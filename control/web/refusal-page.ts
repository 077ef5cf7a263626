import type { Problem } from '../api/problem.ts'
import { markup } from './html.ts'
import type { PageParts } from './layout.ts'

/** What a page says of a refusal: what the API would, in the words of a browser. */
export function refusalPage({ code, detail, status, hint }: Problem): PageParts {
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
    hint === undefined || hint.includes('sally login') ? undefined : markup`<p>${hint}</p>`
  const again = code.startsWith('sign-in')
    ? markup`<p><a class="button" href="/sign-in?next=%2F">Sign in again</a></p>`
    : markup`<p><a class="button second" href="/">To your apps</a></p>`
  const body = markup`<h1>${title}</h1>
    <p class="lead">${sentence(detail)}</p>
    ${next}${again}`
  return { title, body, person: undefined }
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}
