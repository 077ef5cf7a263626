import { expect, test } from 'vitest'
import { readOptions } from '../../../control/read-options.ts'

const read = (words: string[], environment: NodeJS.ProcessEnv = {}) =>
  readOptions(words, environment)!

test('the defaults are those of the help', () => {
  const { options, drainMs } = read([])
  expect(options).toMatchObject({
    host: '127.0.0.1',
    port: 8443,
    domain: 'access.localhost',
    demo: false,
    ephemeral: false,
    operations: { host: '127.0.0.1', port: 9465 },
  })
  expect(options.dataDir).toMatch(/data\/control$/)
  expect(options).not.toHaveProperty('databaseUrl')
  expect(drainMs).toBe(10_000)
})

test('flags and the environment are taken', () => {
  const words = [
    ...['--listen', '[::1]:0', '--url', 'https://control.example.test', '--demo', '--drain', '5s'],
    ...['--bootstrap-admin', 'Admin@Example.test', '--bootstrap-home', '/tmp/x'],
    ...[
      '--bootstrap-group',
      'leads',
      '--proxy-address',
      'edge:15432',
      '--certificate-life',
      '1h',
      '--ready',
      '/tmp/r',
    ],
  ]
  const { options, readyFile } = read(words, {
    DATABASE_URL: 'postgres://x',
    SALLYPORT_SEALING_KEY_FILE: '/k',
  })
  expect(options).toMatchObject({
    host: '::1',
    port: 0,
    url: 'https://control.example.test',
    admin: {
      email: 'admin@example.test',
      home: '/tmp/x',
      groups: ['leads'],
      proxyHost: 'edge',
      proxyPort: 15_432,
    },
    settings: { personCertificateMs: 3_600_000 },
    databaseUrl: 'postgres://x',
    sealingKeyFile: '/k',
    operations: { port: 0 },
  })
  expect(readyFile).toBe('/tmp/r')
})

test.each([
  ['--nonsense'],
  ['--listen', 'nowhere'],
  ['--listen', '1.2.3.4:70000'],
  ['--url', 'http://control'],
  ['--domain', '-x-'],
  ['--bootstrap-admin', 'a@b.test'],
  ['--bootstrap-admin', 'nobody', '--bootstrap-home', '/tmp/x'],
  ['--log-level', 'loud'],
  ['--drain', 'long'],
  ['stray'],
])('%s %s is refused as usage', (...words) => {
  expect(() => read(words.filter((word) => word !== undefined))).toThrow(
    expect.objectContaining({ code: 'usage' }),
  )
})

test('help is asked for', () => {
  expect(readOptions(['--help'], {})).toBeUndefined()
})
