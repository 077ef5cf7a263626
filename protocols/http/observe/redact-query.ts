/** What stands for a value that was not recorded. */
export const redactedValue = '[redacted]'

/** Words that name a secret, as a word of a parameter's name. */
const secretWords = new Set(
  [
    'token tokens key apikey accesskey secret password passwd passphrase',
    'pass pwd pw code otp totp signature sig hmac auth authorization',
    'session sessionid sid jsessionid phpsessid cookie credential credentials',
    'jwt bearer assertion csrf xsrf samlresponse samlrequest',
  ].flatMap((line) => line.split(' ')),
)
/** Whatever stands around these: `refreshtoken`, `clientsecret`. */
const secretParts = /token|secret|passw|apikey|signature|credential/
const wordEnds = /[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/

/** A token of ours, whatever it is a value of. */
const ownToken = /spa_[A-Za-z0-9_-]{32}/
/** One of ours, or a JWT. */
const isToken = /^(?:spa_[A-Za-z0-9_-]{32}|eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2,4})$/

/**
 * A target of origin form with the values of secret parameters left out, those of its path (`;jsessionid=`) too; `own` are further names,
 * lower case. Everything else stays as it is, byte for byte. What has no `=` is left out whole where it looks like a token itself.
 */
export function redactQuery(target: string, own: readonly string[]): string {
  const mark = target.indexOf('?')
  if (mark < 0) return redactPath(target, own)
  const path = redactPath(target.slice(0, mark), own)
  const query = target.slice(mark + 1)
  let changed = false
  const parts = query.split(/([&;?])/).map((part) => {
    // Nothing, or what parts them: there may be tens of thousands.
    if (part.length < 2) return part
    const at = part.indexOf('=')
    if (at < 0 ? !isToken.test(part) : at === part.length - 1) return part
    if (at >= 0 && !ownToken.test(part) && !isSecretName(decode(part.slice(0, at)), own))
      return part
    changed = true
    if (at < 0) return redactedValue
    return `${part.slice(0, at + 1)}${redactedValue}`
  })
  return `${path}?${changed ? parts.join('') : query}`
}

/** Parameters of a path's parts (RFC 3986, 3.3), by which Java's servers carry sessions. */
function redactPath(path: string, own: readonly string[]): string {
  if (!path.includes(';')) return path
  return path.replaceAll(/;([^;/=]+)=[^;/]+/g, (all, name: string) =>
    isSecretName(decode(name), own) ? `;${name}=${redactedValue}` : all,
  )
}

/** Whether a parameter of this name (decoded) is taken for a secret. */
export function isSecretName(name: string, own: readonly string[]): boolean {
  const lower = name.toLowerCase()
  if (own.includes(lower) || secretParts.test(lower) || secretWords.has(lower)) return true
  return name.split(wordEnds).some((word) => secretWords.has(word.toLowerCase()))
}

/** Twice, as some apps do: a name that hides itself must not get past. */
function decode(text: string): string {
  let decoded = text.replaceAll('+', ' ')
  for (let times = 0; times < 2 && decoded.includes('%'); times++) decoded = decodeOnce(decoded)
  return decoded.trim()
}

/** What is no UTF-8, or no escape, hides nothing, and throws nothing: thousands of those in one target would stop the proxy. */
function decodeOnce(text: string): string {
  if (!/%(?![0-7][0-9A-Fa-f])/.test(text)) return decodeURIComponent(text)
  const bytes = text.replaceAll(/%[0-9A-Fa-f]{2}/g, (escape) =>
    String.fromCharCode(Number.parseInt(escape.slice(1), 16)),
  )
  return Buffer.from(bytes, 'latin1').toString()
}
