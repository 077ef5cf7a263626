/**
 * A small OpenID Connect provider for the demo and the tests (`oidc-provider`): accounts from a list, device flow and code
 * flow, pages of its own without anything from elsewhere. It remembers nothing over a restart, and is never for real use.
 */
import { generateKeyPairSync, randomBytes, timingSafeEqual, type JsonWebKey } from 'node:crypto'
import { createServer, request } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Provider, type ClientMetadata, type Configuration } from 'oidc-provider'
import { backChannelLogoutPath, signInCallbackPath } from '../../control/login/browser-login.ts'
import { demoMark } from '../../control/login/identity-provider.ts'
import { page, safe } from './pages.ts'

export interface DevelopmentAccount {
  readonly email: string
  readonly name: string
  readonly password: string
  readonly groups: readonly string[]
}

export interface DevelopmentProviderOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** The host name in the issuer. Default: `host`. */
  readonly name?: string
  readonly certificatePem: string
  readonly privateKeyPem: string
  /** Asked at each use: an account that is gone is out. */
  readonly accounts: () => readonly DevelopmentAccount[]
  readonly client: { readonly id: string; readonly secret: string }
  readonly signing?: 'ES256' | 'RS256'
  readonly keys?: readonly SigningJwk[]
  /** Default `groups`. */
  readonly groupsClaim?: string
  /** Claims of an account, changed: for tests. */
  readonly claimsOf?: (claims: Record<string, unknown>) => Record<string, unknown>
  readonly amr?: readonly string[]
  /** Marks it, so that a control that was started for real refuses it. */
  readonly demo?: boolean
}

export interface DevelopmentProvider {
  readonly issuer: string
  readonly port: number
  close(): Promise<void>
}

export type SigningJwk = JsonWebKey & {
  readonly kid: string
  readonly alg: string
  readonly use: 'sig'
}

export function createSigningKey(alg: 'ES256' | 'RS256'): SigningJwk {
  const { privateKey } =
    alg === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const kid = randomBytes(8).toString('hex')
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }
}

const formBytesMax = 8_192

export async function startDevelopmentProvider(
  options: DevelopmentProviderOptions,
): Promise<DevelopmentProvider> {
  const server = createServer({ cert: options.certificatePem, key: options.privateKeyPem })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  })
  const { port } = server.address() as AddressInfo
  const issuer = `https://${options.name ?? options.host}:${port}`
  const consoles = new Set<string>()
  const provider = new Provider(issuer, configurationOf(options, consoles))
  allowConsoles(provider, consoles)
  const callback = provider.callback()
  server.on('request', (request, response) => {
    const answer = request.url?.startsWith('/interaction/')
      ? interact(provider, options, request, response)
      : callback(request, response)
    Promise.resolve(answer).catch(() => {
      if (!response.headersSent) show(response, 400, 'This sign-in is over', '<p>Begin again.</p>')
    })
  })
  return {
    issuer,
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/**
 * Control's port is not known yet when this starts: its console may be at any port of this machine, as loopback addresses of native
 * clients may (RFC 8252, 7.3). A real provider is told the two addresses exactly.
 */
function allowConsoles(provider: Provider, consoles: Set<string>): void {
  type Allows = (this: object, uri: string) => boolean
  const client = provider.Client.prototype as { redirectUriAllowed: Allows }
  const isRegistered = client.redirectUriAllowed
  client.redirectUriAllowed = function (uri) {
    if (isRegistered.call(this, uri)) return true
    const url = URL.parse(uri)
    const isConsole =
      url?.protocol === 'https:' &&
      (url.hostname === '127.0.0.1' || url.hostname === 'localhost') &&
      uri === url.origin + signInCallbackPath
    if (isConsole) consoles.add(url.origin)
    return isConsole
  }
}

/** Tells each console that somebody's session is over. */
async function tellConsoles(consoles: ReadonlySet<string>, body: string): Promise<Response> {
  const answers = await Promise.allSettled(
    [...consoles].map(
      (origin) =>
        new Promise<number>((resolve, reject) => {
          const outgoing = request(origin + backChannelLogoutPath, {
            method: 'POST',
            agent: false,
            headers: { 'content-type': 'application/x-www-form-urlencoded' },
            // On this machine, to an authority that is made after this provider: the token is signed, and names only an id.
            rejectUnauthorized: false,
          })
          outgoing.on('response', (response) => {
            response.resume()
            resolve(response.statusCode ?? 0)
          })
          outgoing.on('error', reject)
          outgoing.end(body)
        }),
    ),
  )
  const good = answers.every((answer) => answer.status === 'fulfilled' && answer.value === 200)
  return new Response(null, { status: good ? 204 : 502 })
}

function configurationOf(
  options: DevelopmentProviderOptions,
  consoles: ReadonlySet<string>,
): Configuration {
  const signing = options.signing ?? 'ES256'
  const groupsClaim = options.groupsClaim ?? 'groups'
  const client: ClientMetadata = {
    client_id: options.client.id,
    client_secret: options.client.secret,
    client_name: 'Sallyport',
    // Any port of the loopback address (RFC 8252, 7.3).
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    grant_types: [
      'authorization_code',
      'refresh_token',
      'urn:ietf:params:oauth:grant-type:device_code',
    ],
    id_token_signed_response_alg: signing,
    require_auth_time: true,
    // The path counts; where the consoles are, it has learned.
    backchannel_logout_uri: `https://console.invalid${backChannelLogoutPath}`,
    backchannel_logout_session_required: true,
  }
  return {
    clients: [client],
    jwks: { keys: [...(options.keys ?? [createSigningKey(signing)])] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    claims: {
      openid: ['sub', 'acr', 'amr', 'auth_time'],
      profile: ['name', groupsClaim],
      email: ['email', 'email_verified'],
    },
    acrValues: ['urn:example:password'],
    enabledJWA: { idTokenSigningAlgValues: [signing] },
    findAccount: (_context, id) => {
      const account = options.accounts().find(({ email }) => subjectOf(email) === id)
      if (account === undefined) return undefined
      const { email, name, groups } = account
      const claims = { sub: id, email, email_verified: true, name, [groupsClaim]: groups }
      return {
        accountId: id,
        claims: () => Promise.resolve({ sub: id, ...(options.claimsOf?.(claims) ?? claims) }),
      }
    },
    fetch: (url, asked) => {
      const { body } = asked ?? {}
      if (typeof url !== 'string' || !url.startsWith('https://console.invalid/'))
        return Promise.reject(new Error('this provider asks nobody'))
      return tellConsoles(consoles, body instanceof URLSearchParams ? body.toString() : '')
    },
    discovery: { [demoMark]: options.demo === true },
    issueRefreshToken: () => Promise.resolve(true),
    expiresWithSession: () => Promise.resolve(false),
    rotateRefreshToken: true,
    ttl: {
      DeviceCode: 600,
      RefreshToken: 14 * 86_400,
      AccessToken: 600,
      IdToken: 600,
      Session: 3_600,
      Interaction: 600,
      Grant: 14 * 86_400,
    },
    pkce: { required: (_context, each) => each.clientId === options.client.id },
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
    renderError: (context, { error, error_description: what }) => {
      context.type = 'html'
      context.body = page('That did not work', `<p>${safe(error)}: ${safe(what ?? '')}</p>`)
    },
    features: {
      devInteractions: { enabled: false },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (context, form) => {
          context.body = page(
            'Sign out?',
            `${form}<button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>`,
          )
        },
        postLogoutSuccessSource: (context) => {
          context.body = page('Signed out', '<p>You can close this page.</p>')
        },
      },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: (context, form, _out, error) => {
          const wrong = error === undefined ? '' : '<p class="wrong">That code is not known.</p>'
          context.body = page(
            'Which code does the terminal show?',
            `${wrong}${form}<button type="submit" form="op.deviceInputForm">Go on</button>`,
          )
        },
        userCodeConfirmSource: (context, form, client, _device, userCode) => {
          context.body = page(
            `Sign ${safe(client.clientName ?? client.clientId)} in?`,
            `<p>Go on only if your own terminal shows this code just now:</p><p class="code">${safe(userCode)}</p>
${form}<button type="submit" form="op.deviceConfirmForm">Go on</button>
<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes">No</button>`,
          )
        },
        successSource: (context) => {
          context.body = page('Done', '<p>Go back to the terminal; you can close this page.</p>')
        },
      },
    },
  }
}

/** Never the address: a provider may give it to somebody else one day. */
function subjectOf(email: string): string {
  return `account-${Buffer.from(email).toString('hex')}`
}

type Details = Awaited<ReturnType<Provider['interactionDetails']>>

async function interact(
  provider: Provider,
  options: DevelopmentProviderOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const details = await provider.interactionDetails(request, response)
  if (details.prompt.name !== 'login') {
    const consent = { grantId: await grantAll(provider, details) }
    await provider.interactionFinished(
      request,
      response,
      { consent },
      { mergeWithLastSubmission: true },
    )
    return
  }
  if (request.method !== 'POST') {
    showLogin(response, details.uid, '')
    return
  }
  const form = await readForm(request)
  const account = options.accounts().find(({ email }) => email === form.get('email')?.trim())
  if (account === undefined || !isSame(account.password, form.get('password') ?? '')) {
    showLogin(response, details.uid, '<p class="wrong">Address or password is wrong.</p>')
    return
  }
  const login = {
    accountId: subjectOf(account.email),
    acr: 'urn:example:password',
    amr: [...(options.amr ?? ['pwd'])],
    remember: false,
  }
  await provider.interactionFinished(
    request,
    response,
    { login },
    { mergeWithLastSubmission: false },
  )
}

/** Whoever signs in here wants to be signed in there: nothing more is asked. */
async function grantAll(
  provider: Provider,
  { params, session, grantId }: Details,
): Promise<string> {
  const grant =
    (grantId === undefined ? undefined : await provider.Grant.find(grantId)) ??
    new provider.Grant({
      accountId: session?.accountId ?? '',
      clientId: String(params['client_id']),
    })
  grant.addOIDCScope(String(params['scope']))
  return grant.save()
}

function showLogin(response: ServerResponse, uid: string, complaint: string): void {
  show(
    response,
    200,
    'Sign in',
    `${complaint}<form method="post" action="/interaction/${safe(uid)}">
<label>E-mail <input name="email" type="email" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button></form>`,
  )
}

function show(response: ServerResponse, status: number, title: string, body: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy':
      "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    'referrer-policy': 'no-referrer',
  })
  response.end(page(title, body))
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > formBytesMax) throw new Error('the form is too long')
    chunks.push(chunk)
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
}

function isSame(expected: string, given: string): boolean {
  const [one, other] = [Buffer.from(expected), Buffer.from(given)]
  return one.length === other.length && timingSafeEqual(one, other)
}
