/** Control as a client of an OpenID Connect provider. Nothing is asked before somebody signs in: control starts without it. */
import * as openid from 'openid-client'
import { systemClock, type Clock } from '../../protocols/kit/clock.ts'
import { nowMs } from '../control.ts'
import { createIssuerFetch } from './issuer-fetch.ts'
import { signInUnavailable } from './login-refusals.ts'
import { openLoginSettings, type LoginSettings } from './login-settings.ts'
import { clocksApart, refusalOf } from './provider-refusal.ts'
import { readIdentity, type ProviderIdentity } from './read-identity.ts'
import { readKeySet, verifyLogoutToken, type LogoutClaims } from './verify-logout-token.ts'

export interface ProviderAnswer {
  readonly identity: ProviderIdentity
  readonly refreshToken: string | undefined
}
export type DeviceAnswer =
  | { readonly state: 'pending' | 'slow-down' }
  | (ProviderAnswer & { readonly state: 'done' })

export interface DeviceStart {
  readonly deviceCode: string
  readonly userCode: string
  readonly verificationUrl: string
  readonly verificationUrlComplete: string | null
  readonly intervalMs: number
  readonly lifeMs: number
}

/** What a code is checked against; kept sealed between the two calls. */
export interface CodeChecks {
  readonly redirectUri: string
  readonly state: string
  readonly nonce: string
  readonly verifier: string
}

/** All of these reject with `sign-in-unavailable` or `sign-in-refused`. */
export interface IdentityProvider {
  readonly settings: LoginSettings
  startDevice(): Promise<DeviceStart>
  pollDevice(deviceCode: string): Promise<DeviceAnswer>
  /** `offline`: also for a refresh token, where the scopes ask for one. Default true. */
  startCode(
    redirectUri: string,
    how?: { offline: boolean },
  ): Promise<{ authorizationUrl: string; checks: CodeChecks }>
  finishCode(
    answer: { code: string; state: string; iss?: string | undefined },
    checks: CodeChecks,
  ): Promise<ProviderAnswer>
  /** `subject`: whose it must be. */
  refresh(refreshToken: string, subject: string): Promise<ProviderAnswer>
  /** Tells the provider that a refresh token is of no more use; does nothing where it cannot be told. */
  revoke(refreshToken: string): Promise<void>
  /** Which sign-ins the provider says are over. Rejects also with `evidence-invalid`. */
  readLogoutToken(token: string): Promise<LogoutClaims>
  /** Where a browser ends the session; null if there is no such place. */
  endSessionUrl(): Promise<string | null>
}

/** In the discovery document of the demo's provider. */
export const demoMark = 'sallyport_demo'
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code'
/** Between control's clock and the provider's. */
const clockToleranceSeconds = 60
const timeoutSeconds = 10
const metadataMs = 3_600_000
const intervalSeconds = { usual: 5, max: 60 }
const lifeMsMax = 30 * 60_000
const addressShape = /^https:\/\/[^\s\p{C}]{1,2000}$/u

/** Throws `config-invalid` for files that cannot be read. */
export function createIdentityProvider(
  given: LoginSettings,
  { clock, demo }: { readonly clock: Clock; readonly demo: boolean },
): IdentityProvider {
  const settings = openLoginSettings(given)
  const { issuer, clientId, groupsClaim } = settings
  const scope = settings.scopes.join(' ')
  const fetch = createIssuerFetch(settings.authorityPem)
  let known: { metadata: openid.ServerMetadata; atMs: number } | undefined
  let asking: Promise<openid.ServerMetadata> | undefined

  const discover = async (): Promise<openid.ServerMetadata> => {
    if (known !== undefined && clock.monotonicMs() - known.atMs < metadataMs) return known.metadata
    asking ??= openid
      .discovery(new URL(issuer), clientId, undefined, openid.None(), {
        [openid.customFetch]: fetch,
        timeout: timeoutSeconds,
      })
      .then((configuration) => {
        const metadata = configuration.serverMetadata()
        if (metadata[demoMark] === true && !demo) {
          throw signInUnavailable(
            'control was started for real, and its identity provider is a demo’s',
            'operators: name another issuer; nothing of a demo may be carried over',
          )
        }
        known = { metadata, atMs: clock.monotonicMs() }
        return metadata
      })
      .finally(() => (asking = undefined))
    return asking
  }

  /** A new one each time: with it the provider's keys are fetched anew, so that a rotated or withdrawn key counts at once. */
  const configure = async (): Promise<openid.Configuration> => {
    const metadata = await discover()
    const secret = settings.clientSecret?.reveal()
    const configuration = new openid.Configuration(
      metadata,
      clientId,
      {
        [openid.clockTolerance]: clockToleranceSeconds,
        // The library reads the system's clock; tokens are judged by control's.
        [openid.clockSkew]: Math.round((clock.wallMs() - systemClock.wallMs()) / 1_000),
      },
      authenticationOf(secret, metadata),
    )
    configuration[openid.customFetch] = fetch
    configuration.timeout = timeoutSeconds
    openid.enableNonRepudiationChecks(configuration)
    return configuration
  }

  const ask = async <T>(
    question: (configuration: openid.Configuration) => Promise<T>,
  ): Promise<T> => {
    try {
      return await question(await configure())
    } catch (error) {
      const refusal = refusalOf(error, issuer)
      // Endpoints may have moved.
      if (refusal.code === 'sign-in-unavailable') known = undefined
      throw refusal
    }
  }

  const identityOf = async (
    configuration: openid.Configuration,
    tokens: Awaited<ReturnType<typeof openid.refreshTokenGrant>>,
    subject: string | undefined,
  ): Promise<ProviderAnswer> => {
    const claims: Record<string, unknown> | undefined = tokens.claims()
    const expected = subject ?? claims?.['sub']
    if (typeof expected !== 'string')
      throw garbage('an ID token is missing from its answer (scope openid)')
    if (claims !== undefined && claims['sub'] !== expected)
      throw garbage('its token names another person')
    const issuedAt = claims?.['iat']
    if (typeof issuedAt === 'number' && issuedAt > nowMs(clock) / 1_000 + clockToleranceSeconds) {
      throw clocksApart()
    }
    const complete =
      claims !== undefined &&
      [groupsClaim, 'email', 'email_verified'].every((claim) => claims[claim] !== undefined)
    const more: Record<string, unknown> =
      complete || configuration.serverMetadata().userinfo_endpoint === undefined
        ? {}
        : await openid.fetchUserInfo(configuration, tokens.access_token, expected)
    const { email: _, email_verified: verified, ...rest } = more
    // An address and its verification are of the same address, or the one would vouch for another's.
    const isSame = claims?.['email'] === more['email']
    const merged = {
      ...(claims?.['email'] === undefined ? more : rest),
      ...(isSame ? { email_verified: verified } : {}),
      ...claims,
      // The one that was checked, or ours: never what the userinfo endpoint calls so.
      iss: claims?.['iss'] ?? issuer,
    }
    return { identity: readIdentity(merged, settings), refreshToken: tokens.refresh_token }
  }

  const garbage = (why: string): Error =>
    signInUnavailable(
      `the identity provider ${issuer} gave an answer that control cannot use: ${why}`,
      'tell the operator of control',
    )

  return {
    settings,
    startDevice: () =>
      ask(async (configuration) => {
        if (configuration.serverMetadata().device_authorization_endpoint === undefined) {
          throw signInUnavailable(
            `the identity provider ${issuer} has no device flow`,
            'sign in on a machine with a browser: sally login',
          )
        }
        const begun = await openid.initiateDeviceAuthorization(configuration, { scope })
        const complete = begun.verification_uri_complete
        const addresses = [begun.verification_uri, ...(complete === undefined ? [] : [complete])]
        if (!addresses.every((address) => addressShape.test(address))) {
          throw garbage('its link is no https address')
        }
        if (!/^[\x21-\x7e][\x20-\x7e]{0,127}$/.test(begun.user_code))
          throw garbage('its code cannot be shown')
        return {
          deviceCode: begun.device_code,
          userCode: begun.user_code,
          verificationUrl: begun.verification_uri,
          verificationUrlComplete: complete ?? null,
          intervalMs:
            Math.min(Math.max(begun.interval ?? intervalSeconds.usual, 1), intervalSeconds.max) *
            1_000,
          lifeMs: Math.min(begun.expires_in * 1_000, lifeMsMax),
        }
      }),
    pollDevice: (deviceCode) =>
      ask(async (configuration) => {
        try {
          const tokens = await openid.genericGrantRequest(configuration, deviceGrant, {
            device_code: deviceCode,
          })
          return { state: 'done', ...(await identityOf(configuration, tokens, undefined)) }
        } catch (error) {
          if (error instanceof openid.ResponseBodyError) {
            if (error.error === 'authorization_pending') return { state: 'pending' }
            if (error.error === 'slow_down') return { state: 'slow-down' }
          }
          throw error
        }
      }),
    startCode: (redirectUri, { offline } = { offline: true }) =>
      ask(async (configuration) => {
        const checks: CodeChecks = {
          redirectUri,
          state: openid.randomState(),
          nonce: openid.randomNonce(),
          verifier: openid.randomPKCECodeVerifier(),
        }
        const address = openid.buildAuthorizationUrl(configuration, {
          redirect_uri: redirectUri,
          scope: offline ? scope : scope.replaceAll(/ ?\boffline_access\b/g, ''),
          state: checks.state,
          nonce: checks.nonce,
          code_challenge: await openid.calculatePKCECodeChallenge(checks.verifier),
          code_challenge_method: 'S256',
        })
        if (!addressShape.test(address.href)) throw garbage('its sign-in page is no https address')
        return { authorizationUrl: address.href, checks }
      }),
    finishCode: ({ code, state, iss }, checks) =>
      ask(async (configuration) => {
        const arrived = new URL(checks.redirectUri)
        arrived.searchParams.set('code', code)
        arrived.searchParams.set('state', state)
        if (iss !== undefined) arrived.searchParams.set('iss', iss)
        const tokens = await openid.authorizationCodeGrant(configuration, arrived, {
          expectedState: checks.state,
          expectedNonce: checks.nonce,
          pkceCodeVerifier: checks.verifier,
          idTokenExpected: true,
        })
        return identityOf(configuration, tokens, undefined)
      }),
    refresh: (refreshToken, subject) =>
      ask(async (configuration) =>
        identityOf(
          configuration,
          await openid.refreshTokenGrant(configuration, refreshToken),
          subject,
        ),
      ),
    revoke: (refreshToken) =>
      ask(async (configuration) => {
        if (configuration.serverMetadata().revocation_endpoint === undefined) return
        await openid.tokenRevocation(configuration, refreshToken, {
          token_type_hint: 'refresh_token',
        })
      }),
    readLogoutToken: (token) =>
      ask(async (configuration) => {
        const { jwks_uri: jwksUri } = configuration.serverMetadata()
        if (jwksUri === undefined) throw garbage('it names no keys')
        // Asked anew each time, as for ID tokens: a withdrawn key counts no more.
        const late = new AbortController()
        const timer = clock.startTimer(timeoutSeconds * 1_000, () => late.abort())
        const { signal } = late
        const asked = {
          method: 'GET',
          headers: {},
          body: undefined,
          redirect: 'manual',
          signal,
        } as const
        const keys = await readKeySet(await fetch(jwksUri, asked).finally(() => timer.cancel()))
        const how = { issuer, clientId, atMs: nowMs(clock) }
        return verifyLogoutToken(token, keys, how)
      }),
    endSessionUrl: () =>
      ask(async (configuration) => {
        if (configuration.serverMetadata().end_session_endpoint === undefined) return null
        const { href } = openid.buildEndSessionUrl(configuration, { client_id: clientId })
        return addressShape.test(href) ? href : null
      }),
  }
}

/** RFC 8414, 2: without the list it is `client_secret_basic`. */
function authenticationOf(
  secret: string | undefined,
  { token_endpoint_auth_methods_supported: methods }: openid.ServerMetadata,
): openid.ClientAuth {
  if (secret === undefined) return openid.None()
  return methods === undefined || methods.includes('client_secret_basic')
    ? openid.ClientSecretBasic(secret)
    : openid.ClientSecretPost(secret)
}
