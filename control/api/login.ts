/** Shapes of signing in and out. Times are Unix milliseconds of control's clock. */
import { z } from 'zod'
import * as names from './names.ts'
import { certificate, login, person } from './shapes.ts'
import { sshPublicKeyText } from './ssh.ts'

const text = (charactersMax: number) => z.string().max(charactersMax)
/** PKCS #10, PEM, of the key that the certificate is for. */
const requestPem = text(16_384)
/** 32 bytes, base64url: shown once, to who began the sign-in. */
const secret = z.string().regex(/^[A-Za-z0-9_-]{43}$/)

/** The path at which a client on the person's machine waits for the browser. */
export const redirectPath = '/callback'
/** RFC 8252, 7.3: an address, never a name, so that nothing but this machine is reached. */
export const redirectUri = z
  .string()
  .max(100)
  .regex(
    /^http:\/\/127\.0\.0\.1:(?:102[4-9]|10[3-9]\d|1[1-9]\d{2}|[2-9]\d{3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])\/callback$/,
    `must be http://127.0.0.1:PORT${redirectPath} with a port of 1024 or higher`,
  )

/** The SSH key that gets a certificate too. */
const sshPublicKey = sshPublicKeyText.optional()

export const deviceBegin = z.strictObject({ requestPem, sshPublicKey })
export const deviceBegun = z.strictObject({
  id: names.id,
  secret,
  userCode: text(128),
  verificationUrl: text(2_048),
  /** The same with the code in it, where the provider has one. */
  verificationUrlComplete: text(2_048).nullable(),
  /** Ask no more often. */
  intervalMs: z.int().positive(),
  endsAtMs: names.timeMs,
})
export type DeviceBegun = z.infer<typeof deviceBegun>
export const devicePoll = z.strictObject({ secret })

export const codeBegin = z.strictObject({ requestPem, redirectUri, sshPublicKey })
export const codeBegun = z.strictObject({
  id: names.id,
  secret,
  authorizationUrl: text(8_192),
  endsAtMs: names.timeMs,
})
export type CodeBegun = z.infer<typeof codeBegun>
export const codeFinish = z.strictObject({
  secret,
  code: text(4_096).min(1),
  state: text(512),
  /** RFC 9207: which issuer sent the code, where it says so. */
  iss: text(2_048).optional(),
})

/** Everything that a home needs. */
export const signedIn = z.strictObject({
  state: z.literal('done'),
  person,
  login,
  certificate,
  home: z.strictObject({
    realm: names.realm,
    domain: names.domain,
    proxyHost: text(253).optional(),
    proxyPorts: z.partialRecord(names.protocol, z.int().min(1).max(65_535)),
  }),
})
export type SignedIn = z.infer<typeof signedIn>
const waiting = z.strictObject({
  state: z.enum(['pending', 'slow-down']),
  intervalMs: z.int().positive(),
})
export const devicePolled = z.discriminatedUnion('state', [waiting, signedIn])
export type DevicePolled = z.infer<typeof devicePolled>

export const loginRefresh = z.strictObject({ requestPem, sshPublicKey })
export const loggedOut = z.strictObject({
  done: z.literal(true),
  /** Where a browser ends the session at the provider too, if it has such a place. */
  endSessionUrl: text(2_048).nullable(),
})
