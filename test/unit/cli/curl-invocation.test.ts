import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  appUrl,
  curlOptions,
  quietOptions,
  takesText,
  urlOf,
} from '../../../control/cli/curl-invocation.ts'
import { homeFiles, type Home, type HomeConfig } from '../../../control/cli/home.ts'

function homeWith(more: Partial<HomeConfig> = {}): Home {
  const config = {
    ...{ controlUrl: 'https://control.test', realm: 'default', email: 'dev@example.test' },
    ...{ domain: 'access.test', proxyHost: '192.0.2.1', proxyPorts: { http: 8_443 } },
    ...more,
  }
  return { files: homeFiles('/somewhere/home'), config }
}
const home = homeWith()

describe('the URL of an app', () => {
  test.each([
    ['wiki.access.test', 'https://wiki.access.test:8443/'],
    ['wiki.access.test/pages?x=1', 'https://wiki.access.test:8443/pages?x=1'],
    ['https://wiki.access.test/pages', 'https://wiki.access.test:8443/pages'],
    ['HTTPS://WIKI.access.test/', 'https://wiki.access.test:8443/'],
    ['https://wiki.access.test:9000/', 'https://wiki.access.test:9000/'],
  ])('%s is completed', (text, whole) => {
    expect(appUrl(home, text)?.href).toBe(whole)
  })

  test.each([
    'https://evil.example/',
    'https://evilaccess.test/',
    'https://access.test/',
    'https://wiki.access.test.evil.example/',
    'https://wiki.access.test@evil.example/',
    'http://wiki.access.test/',
    'ftp://wiki.access.test/',
    '@body.json',
    '-',
    '',
  ])('%j is none', (text) => {
    expect(appUrl(home, text)).toBeUndefined()
  })

  test('a home that knows no port for HTTP says how to tell it', () => {
    const without = homeWith({ proxyPorts: {} })
    expect(() => appUrl(without, 'wiki.access.test')).toThrow(
      expect.objectContaining({ code: 'config-invalid', hint: expect.stringContaining('"http"') }),
    )
    expect(() => urlOf(without, 'wiki.access.test')).toThrow('proxyPorts.http')
  })
})

describe('what curl is told', () => {
  const at = (name: string): string => join('/somewhere/home', name)
  const urls = [new URL('https://wiki.access.test:8443/'), new URL('https://api.access.test/')]

  test('our authority alone, who asks, and where the proxy is', () => {
    expect(curlOptions(home, urls)).toEqual([
      ...['--cacert', at('ca.pem'), '--cert', at('cert.pem'), '--key', at('key.pem')],
      ...['--proto', '=https', '--proto-redir', '=https'],
      ...['--resolve', 'wiki.access.test:8443:192.0.2.1'],
      ...['--resolve', 'api.access.test:443:192.0.2.1'],
    ])
  })

  test('addresses of IPv6 in brackets; names are for DNS', () => {
    const six = curlOptions(homeWith({ proxyHost: '2001:db8::1' }), urls.slice(0, 1))
    expect(six.slice(-2)).toEqual(['--resolve', 'wiki.access.test:8443:[2001:db8::1]'])
    expect(curlOptions(homeWith({ proxyHost: 'proxy.test' }), urls)).not.toContain('--resolve')
    expect(curlOptions(homeWith({ proxyHost: undefined }), urls)).not.toContain('--resolve')
  })
})

test.each<[string | undefined, boolean]>([
  ['-d', true],
  ['-sd', true],
  ['-H', true],
  ['-XPOST', false],
  ['-X', true],
  ['-s', false],
  ['-sSL', false],
  ['-d@body', false],
  ['--data-raw', true],
  ['--json', true],
  ['--url', false],
  ['--compressed', false],
  ['wiki.access.test', false],
  [undefined, false],
])('after %s comes a text: %s', (word, expected) => {
  expect(takesText(word)).toBe(expected)
})

describe('the progress meter', () => {
  test.each(['', '-d x=1', '-i', '-H -s', '-d -o', '-XPOST', '--data -s', '-uname:-so', '-vk'])(
    'is not shown with %j',
    (line) => {
      expect(quietOptions(line.split(' '))).toEqual(['--silent', '--show-error'])
    },
  )

  test.each([
    ...['-s', '-sS', '-S', '-#', '-o page', '-opage', '-vo page', '-O', '--output page'],
    ...['--output=page', '--progress-bar', '--no-progress-meter', '--no-silent'],
  ])('is the caller’s with %j', (line) => {
    expect(quietOptions(line.split(' '))).toEqual([])
  })
})
