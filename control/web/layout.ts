import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ConsolePerson } from '../login/console-session.ts'
import { Html, markup } from './html.ts'

/** The pages' one look: a file of ours, under a name that changes with it. */
export const styleSheet = readFileSync(new URL('style.css', import.meta.url))
const digest = createHash('sha256').update(styleSheet).digest('hex').slice(0, 16)
export const stylePath = `/assets/style-${digest}.css`
/** The one script, within the pages that follow: their policy lets it run by what it is, and nothing else. */
const script = readFileSync(new URL('follow.js', import.meta.url), 'utf8')
const scriptDigest = createHash('sha256').update(script).digest('base64')

export interface PageParts {
  readonly title: string
  readonly body: Html
  readonly person: ConsolePerson | undefined
  /** Goes on to a path of ours. */
  readonly refresh?: Refresh
  /** Waits here for what the path leads to: by the script, which changes only what changed; without one by loading the page again. */
  readonly follow?: Refresh
}

interface Refresh {
  readonly afterSeconds: number
  readonly path: string
}

/** Content-Security-Policy of a page. */
export function policyOf({ follow }: Pick<PageParts, 'follow'>): string {
  return [
    "default-src 'none'",
    ...(follow === undefined ? [] : [`script-src 'sha256-${scriptDigest}'`, "connect-src 'self'"]),
    "style-src 'self'",
    'img-src data:',
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

const mark = markup`<svg
  viewBox="0 0 24 24"
  aria-hidden="true"
  fill="none"
  stroke="currentColor"
  stroke-width="2"
  stroke-linejoin="round"
>
  <path d="M4 21V9l8-6 8 6v12" />
  <path d="M9 21v-6a3 3 0 0 1 6 0v6M3 21h18" />
</svg>`
const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='%231558c0' stroke-width='2'%3E%3Cpath d='M4 21V9l8-6 8 6v12M9 21v-6a3 3 0 0 1 6 0v6M3 21h18'/%3E%3C/svg%3E"

const product = 'Sallyport'

/** A whole page. */
export function page({ title, body, person, refresh, follow }: PageParts): string {
  const main =
    follow === undefined
      ? markup`<main id="main">${body}</main>`
      : markup`<main id="main" data-follow="${follow.path}" data-every-ms="${follow.afterSeconds * 1_000}">${body}</main>
        <script>${Html.of([script], [])}</script>`
  const who =
    person === undefined
      ? undefined
      : markup`<span class="who">${person.email}</span> <a href="/sign-out">Sign out</a>`
  return markup`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>${title === product ? product : `${title} · ${product}`}</title>
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        ${refresh === undefined ? undefined : refreshed(refresh)}
        ${follow === undefined ? undefined : markup`<noscript>${refreshed(follow)}</noscript>`}
        <link rel="icon" href="${icon}" />
        <link rel="stylesheet" href="${stylePath}" />
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header>
          <div><a class="brand" href="/">${mark}Sallyport</a>${who}</div>
        </header>
        ${main}
      </body>
    </html> `.toString()
}

function refreshed({ afterSeconds, path }: Refresh): Html {
  return markup`<meta http-equiv="refresh" content="${afterSeconds};url=${path}" />`
}
