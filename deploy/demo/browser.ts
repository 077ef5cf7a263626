/** A browser without a screen: keeps cookies, follows redirects, fills in forms. */
import { request } from 'node:https'

export interface Page {
  readonly url: string
  readonly status: number
  readonly html: string
}

export interface Browser {
  open(url: string): Promise<Page>
  /** Sends the (only) form of a page, with its hidden fields. */
  submit(page: Page, fields?: Record<string, string>): Promise<Page>
}

const stepsMax = 6

/** Redirects to http (a client's loopback address) are not followed: `url` then says where they lead. */
export function openBrowser(authorityPem: string): Browser {
  const cookies = new Map<string, string>()
  const once = (
    method: string,
    url: string,
    body?: string,
  ): Promise<Page & { location?: string }> =>
    new Promise((resolve, reject) => {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const outgoing = request(
        url,
        {
          method,
          ca: authorityPem,
          agent: false,
          headers: {
            accept: 'text/html',
            ...(cookie === '' ? {} : { cookie }),
            ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          },
        },
        (response) => {
          for (const line of response.headers['set-cookie'] ?? []) {
            const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
            if (value === '') cookies.delete(name!)
            else cookies.set(name!, value!)
          }
          let html = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => (html += chunk))
          response.on('end', () => {
            const { location } = response.headers
            const found = { url, status: response.statusCode ?? 0, html }
            resolve(
              location === undefined ? found : { ...found, location: new URL(location, url).href },
            )
          })
        },
      )
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  const go = async (method: string, url: string, body?: string): Promise<Page> => {
    let page = await once(method, url, body)
    for (let hops = 0; page.location !== undefined && hops < 20; hops += 1) {
      if (page.location.startsWith('http:')) return { ...page, url: page.location }
      page = await once('GET', page.location)
    }
    return page
  }
  return {
    open: (url) => go('GET', url),
    submit(page, fields = {}) {
      const action = /<form[^>]*action="([^"]*)"/.exec(page.html)?.[1]
      if (action === undefined)
        throw new Error(`no form at ${page.url}: ${page.html.slice(0, 500)}`)
      const form = new URLSearchParams()
      for (const [input] of page.html.matchAll(/<input[^>]*>/g)) {
        const name = /name="([^"]*)"/.exec(input)?.[1]
        if (name !== undefined) form.set(name, /value="([^"]*)"/.exec(input)?.[1] ?? '')
      }
      for (const [name, value] of Object.entries(fields)) form.set(name, value)
      return go('POST', new URL(action, page.url).href, form.toString())
    },
  }
}

/** Opens a link of the development provider and signs in there. Returns the page, or the loopback address, it ends at. */
export async function signInAt(
  authorityPem: string,
  url: string,
  account: { readonly email: string; readonly password: string },
): Promise<Page> {
  const browser = openBrowser(authorityPem)
  let page = await browser.open(url)
  for (let steps = 0; page.url.startsWith('https:') && page.html.includes('<form'); steps += 1) {
    if (steps > stepsMax) throw new Error(`this never ends: ${page.html.slice(0, 500)}`)
    const { email, password } = account
    page = await browser.submit(
      page,
      page.html.includes('name="password"') ? { email, password } : {},
    )
  }
  return page
}
