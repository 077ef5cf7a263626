/** Who this proxy is: one 0600 file, written whole, so that keys and certificates never disagree. */
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { proxyJoined } from '../../control/api/shapes.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile, writePrivateFile } from '../../certs/key-file.ts'

const proxyIdentity = proxyJoined.extend({
  version: z.literal(1),
  clientKeyPem: z.string(),
  serverKeyPem: z.string(),
})
export type ProxyIdentity = z.infer<typeof proxyIdentity>

export function identityFile(dataDir: string): string {
  return join(dataDir, 'identity', 'identity.json')
}

/** Undefined if this proxy never joined. Throws `config-invalid` for a file that is not whole or not private. */
export function readIdentity(dataDir: string): ProxyIdentity | undefined {
  const path = identityFile(dataDir)
  if (!existsSync(path)) return undefined
  let content: unknown
  try {
    content = JSON.parse(readPrivateFile(path).toString('utf8'))
  } catch (error) {
    if (error instanceof SallyportError) throw error
    content = undefined
  }
  const parsed = proxyIdentity.safeParse(content)
  if (!parsed.success) {
    throw new SallyportError('config-invalid', `${path} is damaged`, {
      clientMessage: `the identity of this proxy in ${path} is damaged`,
      hint: 'remove the file and join again with a new token: sally proxy join-token',
    })
  }
  return parsed.data
}

export function writeIdentity(dataDir: string, identity: ProxyIdentity): void {
  mkdirSync(join(dataDir, 'identity'), { recursive: true, mode: 0o700 })
  writePrivateFile(identityFile(dataDir), JSON.stringify(identity))
}

/** A demo's identity in a real proxy, or the other way round (design, invariant 11). */
export function requireDemoMatch(identity: { demo: boolean }, demo: boolean): void {
  if (identity.demo === demo) return
  throw new SallyportError(
    'demo-in-production',
    identity.demo ? 'this identity is of a demo' : 'this identity is not of a demo',
    {
      clientMessage: identity.demo
        ? 'this proxy was joined to a demo and will not serve for real'
        : 'this proxy was joined for real and will not serve a demo',
      hint: identity.demo
        ? 'use another --data-dir, or start it with --demo'
        : 'use another --data-dir, or start it without --demo',
    },
  )
}

/** The span in which both certificates are valid, Unix ms. */
export function validityOf(identity: ProxyIdentity): { fromMs: number; untilMs: number } {
  const certificates = [identity.clientCertificatePem, identity.serverCertificatePem].map(
    (pem) => new X509Certificate(pem),
  )
  return {
    fromMs: Math.max(...certificates.map((certificate) => Date.parse(certificate.validFrom))),
    untilMs: Math.min(...certificates.map((certificate) => Date.parse(certificate.validTo))),
  }
}
