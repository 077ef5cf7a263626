/** Pages of the demo's wiki: one look, nothing loaded from anywhere. */
import { safe } from './pages.ts'

export interface WikiPage {
  readonly title: string
  readonly text: string
  readonly changedBy: string
}

const style = `:root{color-scheme:light dark;--line:#8886;--ink:light-dark(#1c1e21,#e8e8e6);--soft:light-dark(#5b6068,#a3a7ad);
--paper:light-dark(#fdfdfb,#16181b);--mark:light-dark(#0b57d0,#8ab4f8)}
body{font:16px/1.6 system-ui,sans-serif;max-width:46rem;margin:0 auto;padding:1.5rem 1rem 3rem;color:var(--ink);background:var(--paper)}
header{display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:baseline;border-bottom:1px solid var(--line);padding-bottom:.6rem}
header strong{font-size:1.15rem}header span{margin-left:auto;color:var(--soft);font-size:.9rem}
a{color:var(--mark)}textarea,input{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;color:inherit;background:transparent;border:1px solid var(--line);border-radius:.4rem}
button{font:inherit;padding:.45rem 1rem;border:1px solid var(--line);border-radius:.4rem;background:transparent;color:inherit;cursor:pointer}
button:focus-visible,a:focus-visible,input:focus-visible,textarea:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
form{display:grid;gap:.6rem;margin:1rem 0}nav a{margin-right:1rem}#log{font:.9rem/1.5 ui-monospace,monospace;white-space:pre-wrap;border:1px solid var(--line);border-radius:.4rem;padding:.6rem;min-height:8rem}`

/** `body` is HTML already; `who` as the proxy signed it. */
export function wikiPage(title: string, who: string, body: string, script = ''): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${safe(title)} · wiki</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>${style}</style></head><body>
<header><strong>wiki</strong><nav><a href="/">Pages</a><a href="/live">Live</a><a href="/admin/status">Admin</a></nav><span id="who">${safe(who)}</span></header>
<main><h1>${safe(title)}</h1>${body}</main>${script === '' ? '' : `<script>${script}</script>`}</body></html>`
}

export function pageList(pages: ReadonlyMap<string, WikiPage>): string {
  const items = [...pages].map(
    ([name, { title, changedBy }]) =>
      `<li><a href="/pages/${name}">${safe(title)}</a> <small>by ${safe(changedBy)}</small></li>`,
  )
  return `<ul>${items.join('')}</ul><form method="post" action="/pages"><label>A new page <input name="title" required maxlength="80"></label><button>Create</button></form>`
}

export function showPage(name: string, { text }: WikiPage): string {
  const paragraphs = text.split(/\n{2,}/).map((one) => `<p>${safe(one)}</p>`)
  return `${paragraphs.join('')}<p><a href="/pages/${name}/edit">Edit</a></p>
<button id="remove">Delete this page</button><p id="told" role="status"></p>`
}

/** Deletes with the method that says so; forms have none. */
export const removeScript = `document.getElementById('remove').onclick=async()=>{
const answer=await fetch(location.pathname,{method:'DELETE',headers:{accept:'application/json'}})
if(answer.ok)location.href='/';else document.getElementById('told').textContent=(await answer.json()).detail||answer.statusText}`

export function editPage(name: string, { title, text }: WikiPage): string {
  return `<form method="post" action="/pages/${name}"><label>Title <input name="title" value="${safe(title)}" required maxlength="80"></label>
<label>Text <textarea name="text" rows="12">${safe(text)}</textarea></label><button>Save</button></form>`
}

export const livePage = `<p>What others write appears here at once (a WebSocket), and so does the time at the server (an event stream).</p>
<p>The server's clock: <output id="clock">…</output></p><div id="log" role="log"></div>
<form id="say"><label>Say something <input id="words" autocomplete="off" maxlength="500"></label><button>Send</button></form>`

export const liveScript = `const log=document.getElementById('log'),clock=document.getElementById('clock')
const add=text=>{log.textContent+=text+'\\n'}
const socket=new WebSocket(location.origin.replace(/^http/,'ws')+'/socket')
socket.onopen=()=>add('connected')
socket.onmessage=({data})=>add(data)
socket.onclose=({code,reason})=>add('the connection was closed ('+code+'): '+reason)
document.getElementById('say').onsubmit=event=>{event.preventDefault();const words=document.getElementById('words');socket.send(words.value);words.value=''}
const events=new EventSource('/events')
events.onmessage=({data})=>{clock.textContent=data}
events.onerror=()=>{clock.textContent='stopped';events.close()}`
