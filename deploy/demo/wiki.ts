/**
 * The demo's HTTP resource: a small wiki with pages, a form, a WebSocket, an event stream, and an API that echoes. It takes requests that carry
 * one of its tokens, which only the proxy has, and believes who asks by the identity that the proxy signs.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { WebSocketServer, type WebSocket } from 'ws'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import { levels, type Level } from '../../protocols/session.ts'
import {
  editPage,
  livePage,
  liveScript,
  pageList,
  removeScript,
  showPage,
  wikiPage,
  type WikiPage,
} from './wiki-pages.ts'

const host = '127.0.0.1'
const bodyBytesMax = 256 * 1024
const tickMs = 1_000
export const wikiName = 'wiki'

/** Who asks, as a signed identity says; rejects for one that does not verify. */
export type ReadAssertion = (assertion: string) => Promise<string>

export interface Wiki {
  readonly port: number
  /** What the proxy shows at each level. */
  readonly tokens: ReadonlyMap<Level, string>
  close(): void
}

interface Visit {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  readonly who: string
  readonly level: Level
}

export async function startWiki(
  port: number,
  options: { readonly clock: Clock; readonly readAssertion: ReadAssertion },
): Promise<Wiki> {
  const { clock, readAssertion } = options
  const tokens = new Map(levels.map((level) => [level, randomBytes(24).toString('base64url')]))
  const pages = new Map<string, WikiPage>([
    ['welcome', { title: 'Welcome', changedBy: 'the shop team', text: welcome }],
    ['on-call', { title: 'On call', changedBy: 'the shop team', text: onCall }],
  ])
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 })
  const streams = new Set<ServerResponse>()

  /** A level's token, and who the proxy says it is; undefined once it was answered. */
  async function identify(request: IncomingMessage) {
    const shown = request.headers.authorization?.replace(/^Bearer /, '')
    const level = levels.find((one) => tokens.get(one) === shown)
    if (level === undefined) return undefined
    const assertion = request.headers['sallyport-assertion']
    if (typeof assertion !== 'string') return undefined
    return { level, who: await readAssertion(assertion) }
  }

  const server = createServer((request, response) => {
    const url = URL.parse(`http://${host}${request.url ?? '/'}`)
    if (url === null) return send(response, 400, 'text/plain', 'that is no path\n')
    return void identify(request)
      .then((known) => {
        if (known !== undefined) return answer({ request, response, url, ...known })
        return send(response, 401, 'text/plain', 'the wiki is reached through Sallyport only\n')
      })
      .catch((error: unknown) => {
        if (!response.headersSent) send(response, 500, 'text/plain', `${String(error)}\n`)
        else response.destroy()
      })
  })
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    identify(request).then(
      (known) => {
        if (known === undefined || request.url !== '/socket') socket.destroy()
        else sockets.handleUpgrade(request, socket, head, (client) => join(client, known.who))
      },
      () => socket.destroy(),
    )
  })

  function join(client: WebSocket, who: string): void {
    tell(`${who} is here`)
    client.on('message', (words: Buffer) => tell(`${who}: ${words.toString('utf8')}`))
    client.on('error', () => undefined)
  }
  function tell(line: string): void {
    for (const client of sockets.clients) client.send(line)
  }

  let tick: Timer
  function beat(): void {
    const time = new Date(clock.wallMs()).toISOString().slice(11, 19)
    for (const stream of streams) stream.write(`data: ${time} UTC\n\n`)
    tick = clock.startTimer(tickMs, beat)
  }

  async function answer(visit: Visit): Promise<void> {
    const { request, response, url, who, level } = visit
    const show = (title: string, body: string, script?: string): void =>
      send(response, 200, 'text/html', wikiPage(title, who, body, script))
    const at = `${request.method} ${url.pathname}`
    if (at === 'GET /' || at === 'GET /pages') return show('Pages', pageList(pages))
    if (at === 'GET /live') return show('Live', livePage, liveScript)
    if (at === 'GET /events') return stream(response)
    if (at === 'GET /admin/status') {
      return show('Status', `<p>${pages.size} pages, ${sockets.clients.size} people live.</p>`)
    }
    if (at === 'GET /download') return download(response, Number(url.searchParams.get('mb')))
    if (url.pathname === '/api/echo') return echo(visit)
    if (at === 'POST /pages') return save(visit, undefined)
    const [, name, action] = /^\/pages\/([a-z0-9-]+)(\/edit)?$/.exec(url.pathname) ?? []
    const page = name === undefined ? undefined : pages.get(name)
    if (page === undefined || name === undefined) {
      return send(response, 404, 'text/html', wikiPage('Not found', who, '<p>No such page.</p>'))
    }
    if (request.method === 'POST') return save(visit, name)
    if (request.method === 'DELETE') {
      // The proxy has looked at the level already; the wiki does not lean on it.
      if (level !== 'delete' && level !== 'admin') return send(response, 403, 'text/plain', 'no\n')
      pages.delete(name)
      return send(response, 200, 'application/json', '{"deleted":true}\n')
    }
    if (action !== undefined) return show(`Edit ${page.title}`, editPage(name, page))
    return show(page.title, showPage(name, page), removeScript)
  }

  async function save({ request, response, who, level }: Visit, name?: string): Promise<void> {
    if (level === 'read') return send(response, 403, 'text/plain', 'no\n')
    const form = new URLSearchParams((await read(request)).toString('utf8'))
    const title = form.get('title')?.trim().slice(0, 80) || 'Untitled'
    const key =
      name ??
      (title
        .toLowerCase()
        .replaceAll(/[^a-z0-9]+/g, '-')
        .slice(0, 40) ||
        'page')
    pages.set(key, { title, text: form.get('text') ?? '', changedBy: who })
    tell(`${who} saved "${title}"`)
    response.writeHead(303, { location: `/pages/${key}` }).end()
  }

  function stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(': hello\n\n')
    streams.add(response)
    response.on('close', () => streams.delete(response))
  }

  server.listen(port, host)
  await once(server, 'listening')
  tick = clock.startTimer(tickMs, beat)
  return {
    port,
    tokens,
    close() {
      tick.cancel()
      for (const client of sockets.clients) client.terminate()
      server.close()
      server.closeAllConnections()
    },
  }
}

/** What arrived, but for the token, which is nobody's to see. */
async function echo({ request, response, url, who, level }: Visit): Promise<void> {
  const { authorization: _hidden, ...headers } = request.headers
  const body = (await read(request)).toString('utf8')
  const { method } = request
  const arrived = { method, path: url.pathname + url.search, who, level, headers, body }
  send(response, 200, 'application/json', `${JSON.stringify(arrived, null, 2)}\n`)
}

/** So many megabytes, as fast as they are taken. */
async function download(response: ServerResponse, megabytes: number): Promise<void> {
  const count = Math.min(Math.max(Math.round(megabytes) || 1, 1), 10_000)
  response.writeHead(200, { 'content-type': 'application/octet-stream' })
  const megabyte = Buffer.alloc(1_000_000, 'wiki ')
  for (let sent = 0; sent < count && !response.destroyed; sent += 1) {
    if (!response.write(megabyte)) {
      await Promise.race([once(response, 'drain'), once(response, 'close')])
    }
  }
  response.end()
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bodyBytesMax) throw new Error('the body is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  const headers = { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' }
  response.writeHead(status, headers).end(body)
}

const welcome = `This wiki has no sign-in of its own. Sallyport lets you in while you have a grant, signs who you are for it, and records each request.

Reading takes a grant to read. Saving a page takes one to write, deleting one to delete, and what is below /admin/ one to administer.`

const onCall = `The database is slow? Look at the payments first.

The web server is web1: sally connect web1`

const reference = (level: Level): string => `${wikiName}/${level}`

/** The tokens, for the proxy's sealed store. */
export function wikiSecrets({ tokens }: Wiki): [string, string][] {
  return [...tokens].map(([level, token]) => [reference(level), token])
}

/** The rule of the proxy's policy that lets it show them there. */
export function wikiRule({ port }: Wiki): string {
  return `  - reference: "sealed:${wikiName}/*"
    addresses: ["${host}:${port}"]
    tls: disable
    credential: { kind: bearer }
    levels: [${levels.join(', ')}]
`
}

/** As control knows it. */
export function wikiResource({ port }: Wiki) {
  return {
    name: wikiName,
    protocol: 'http' as const,
    address: { host, port },
    // It listens on this machine only.
    tls: { mode: 'disable' as const },
    levels: Object.fromEntries(
      levels.map((level) => [level, { account: level, secret: `sealed:${reference(level)}` }]),
    ),
    tags: { environment: 'demo' },
    owner: 'shop-team@example.test',
    description: 'The wiki of the shop team, and an API that echoes',
    http: {
      credential: { kind: 'bearer' as const },
      rules: [
        { path: '/admin/**', needs: 'admin' as const },
        // What is sent to it changes nothing, and neither does who talks live.
        { path: '/api/echo', needs: 'read' as const },
        { path: '/socket', needs: 'read' as const },
      ],
      recording: { requestBodyBytes: 4_096, webSocketText: true },
    },
  }
}
