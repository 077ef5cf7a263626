/** How curl is told who asks and where the proxy is: by options in front of the caller's, which stay as they are. */
import { isIP } from 'node:net'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { Home } from './home.ts'

/** Options for each of these URLs, all of which must be apps of the home's domain: nobody else is shown the certificate. */
export function curlOptions(home: Home, urls: readonly URL[]): string[] {
  const { files, config } = home
  const words = ['--cacert', files.serverAuthorities]
  words.push('--cert', files.certificate, '--key', files.key)
  // A redirect may lead anywhere.
  words.push('--proto', '=https', '--proto-redir', '=https')
  const { proxyHost } = config
  if (proxyHost === undefined || isIP(proxyHost) === 0) return words
  const address = isIP(proxyHost) === 6 ? `[${proxyHost}]` : proxyHost
  for (const { hostname, port } of urls) {
    words.push('--resolve', `${hostname}:${port === '' ? 443 : port}:${address}`)
  }
  return words
}

/** The URL as the proxy is reached: https, and its port. Undefined where it is no app of this home's domain. */
export function appUrl(home: Home, text: string): URL | undefined {
  const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`)
  if (url === null || !url.hostname.endsWith(`.${home.config.domain}`)) return undefined
  if (url.protocol !== 'https:') return undefined
  if (url.port === '') url.port = String(httpPort(home))
  return url
}

/** Short options of curl that take a value; the letters before one take none. */
const shortWithValue = /^-[^-AbcCdDeEFHKmoPQrtTuUwxXyYz]*[AbcCdDeEFHKmoPQrtTuUwxXyYz]$/
/** Long ones whose value may look like an app of ours without being asked for. */
const longWithText =
  /^--(?:data(?:-.*)?|json|form(?:-string)?|header|user-agent|referer|cookie|output|write-out|user|request|url-query)$/

/** Whether curl takes the word after this one as a value that is no URL to ask. */
export function takesText(word: string | undefined): boolean {
  return word !== undefined && (shortWithValue.test(word) || longWithText.test(word))
}

/** A meter, a file to write to, or silence: whoever says something of these has decided. Letters before take no value. */
const saysOfMeter = /^-[^-AbcCdDeEFHKmoPQrtTuUwxXyYz]*[#oOsS]/
const saysOfMeterLong =
  /^--(?:no-)?(?:output|output-dir|remote-name|remote-name-all|progress-bar|progress-meter|silent|show-error)(?:=|$)/

/** No progress meter among what a pipe is filled with, unless the caller's words say otherwise; errors stay. For old versions of curl too. */
export function quietOptions(words: readonly string[]): string[] {
  const isSaid = words.some(
    (word, index) =>
      !takesText(words[index - 1]) && (saysOfMeter.test(word) || saysOfMeterLong.test(word)),
  )
  return isSaid ? [] : ['--silent', '--show-error']
}

/** Where an app is; `path` begins with a slash, and stays a path of it, however many it begins with. */
export function urlOf(home: Home, hostname: string, path = '/'): URL {
  return new URL(`https://${hostname}:${httpPort(home)}${path}`)
}

function httpPort({ config, files }: Home): number {
  const port = config.proxyPorts.http
  if (port !== undefined) return port
  throw new SallyportError('config-invalid', 'proxyPorts.http is not set', {
    clientMessage: `${files.config} does not say which port the proxy has for http`,
    hint: 'add to it: "proxyPorts": {"http": 443}',
  })
}
