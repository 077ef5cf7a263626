/** The identity in a certificate: one URI in its subject alternative name. */

export type IdentityKind = 'person' | 'proxy' | 'control' | 'authority'

export interface Identity {
  readonly realm: string
  readonly kind: IdentityKind
  /** A UUID for people and proxies, a name for control, the purpose for an authority. */
  readonly id: string
}

const realmPattern = '[a-z][a-z0-9-]{0,30}'
const uuidPattern = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
const namePattern = '[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?'
const pattern = new RegExp(
  `^sallyport://(${realmPattern})/(?:(person|proxy)/(${uuidPattern})|(control|authority)/(${namePattern}))$`,
)

/** `sallyport://<realm>/<kind>/<id>`. Throws if the parts are not what that form allows. */
export function identityUri(identity: Identity): string {
  const uri = `sallyport://${identity.realm}/${identity.kind}/${identity.id}`
  if (parseIdentityUri(uri) === undefined) throw new Error(`not an identity: ${uri}`)
  return uri
}

/** The identity that a URI names; undefined for anything that is not exactly one. */
export function parseIdentityUri(uri: string): Identity | undefined {
  const match = pattern.exec(uri)
  if (match === null) return undefined
  const [, realm, uuidKind, uuid, nameKind, name] = match
  return { realm: realm!, kind: (uuidKind ?? nameKind) as IdentityKind, id: (uuid ?? name)! }
}
