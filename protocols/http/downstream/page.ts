/** The few pages that a person sees at an app's host that are not the app's: what happened, and one thing to do about it. */
import { createHash } from 'node:crypto'

export interface Page {
  readonly title: string
  /** What happened, in a sentence or two. */
  readonly lead: string
  readonly hint?: string
  /** What does the same at a terminal. */
  readonly command?: string
  /** A link, or a button that posts to it. */
  readonly action?: { readonly label: string; readonly href: string; readonly posts?: boolean }
  /** Small print: what to tell the operator. */
  readonly code?: string
}

const style = `
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#1a2330;--soft:#526071;--edge:#d9dfe7;--do:#175fc4;--on:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#10151c;--card:#18202a;--ink:#e8edf3;--soft:#a3b0bf;--edge:#2c3846;--do:#7db4ff;--on:#0b1522}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main{width:100%;max-width:34rem;background:var(--card);border:1px solid var(--edge);border-radius:.75rem;padding:2rem}
h1{margin:0 0 .75rem;font-size:1.4rem;line-height:1.25}
p{margin:0 0 1rem;overflow-wrap:anywhere}
.soft{color:var(--soft)}
pre{margin:-.75rem 0 1rem;padding:.6rem .8rem;background:var(--paper);border:1px solid var(--edge);border-radius:.5rem;font:.9rem/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
pre span{white-space:nowrap}
.do{display:inline-block;border:0;border-radius:.5rem;padding:.65rem 1.1rem;background:var(--do);color:var(--on);font:inherit;font-weight:600;text-decoration:none;cursor:pointer}
.do:focus-visible{outline:3px solid var(--ink);outline-offset:2px}
footer{margin-top:1.5rem;padding-top:1rem;border-top:1px solid var(--edge);font-size:.85rem;color:var(--soft)}
`
const styleDigest = createHash('sha256').update(style).digest('base64')

/** `formTargets`: origins besides our own that a form of the page may end at. */
export function pagePolicy(formTargets: readonly string[] = []): string {
  return [
    "default-src 'none'",
    `style-src 'sha256-${styleDigest}'`,
    `form-action ${["'self'", ...formTargets].join(' ')}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

export function renderPage({ title, lead, hint, command, action, code }: Page): string {
  const doing =
    action === undefined
      ? ''
      : action.posts === true
        ? `<form method="post" action="${escape(action.href)}"><button class="do">${escape(action.label)}</button></form>`
        : `<p><a class="do" href="${escape(action.href)}">${escape(action.label)}</a></p>`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · Sallyport</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escape(title)}</h1>
<p>${escape(lead)}</p>
${hint === undefined ? '' : `<p class="soft">${escape(hint)}</p>`}
${doing}
${command === undefined ? '' : `<p class="soft">At a terminal:</p>\n<pre>${wordsOf(command)}</pre>`}
<footer>Sallyport${code === undefined ? '' : ` · ${escape(code)}`}</footer>
</main>
</body>
</html>
`
}

/** A line is broken between words, not within `--level`. */
function wordsOf(command: string): string {
  const words = command.split(' ').map((word) => `<span>${escape(word)}</span>`)
  return words.join(' ')
}

const entities: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;' },
  ...{ '"': '&quot;', "'": '&#39;' },
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (found) => entities[found]!)
}
