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
      '--proxy-address',
      'ssh=edge:2222',
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
      proxy: { host: 'edge', ports: { postgres: 15_432, ssh: 2_222 } },
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
  ['--domain', 'com'],
  ['--bootstrap-admin', 'a@b.test'],
  ['--bootstrap-admin', 'nobody', '--bootstrap-home', '/tmp/x'],
  ['--log-level', 'loud'],
  ['--drain', 'long'],
  ['--proxy-address', 'ssh=edge:2222', '--proxy-address', 'other:5432'],
  ['--proxy-address', 'gopher=edge:70'],
  ['stray'],
  ['--oidc-issuer', 'https://login.example.test'],
  ['--oidc-link-by-email'],
  ['--oidc-trust-unmarked-emails'],
  [
    ...['--oidc-issuer', 'https://x.test', '--oidc-client-id', 'x'],
    ...['--oidc-link-by-email', '--oidc-trust-unmarked-emails'],
  ],
  ['--oidc-client-id', 'x', '--oidc-issuer', 'http://login.example.test'],
  ['--oidc-client-id', 'x', '--oidc-issuer', 'https://x.test', '--oidc-scopes', 'email'],
])('%s %s is refused as usage', (...words) => {
  expect(() => read(words.filter((word) => word !== undefined))).toThrow(
    expect.objectContaining({ code: 'usage' }),
  )
})

const issuer = ['--oidc-issuer', 'https://login.example.test', '--oidc-client-id', 'sallyport']

test('an identity provider comes by flags or by the environment, and none is none', () => {
  expect(read([]).options).not.toHaveProperty('login')
  expect(read([], { SALLYPORT_OIDC_GROUPS_CLAIM: 'x' }).options).not.toHaveProperty('login')
  expect(
    read([...issuer, '--login-life', '2h', '--oidc-admin-group', 'a,b']).options,
  ).toMatchObject({
    settings: { loginMs: 7_200_000 },
    login: {
      issuer: 'https://login.example.test',
      groupsClaim: 'groups',
      scopes: ['openid', 'profile', 'email', 'offline_access'],
      adminGroups: ['a,b'],
      auditorGroups: [],
      linkByEmail: false,
    },
  })
  const environment = {
    SALLYPORT_OIDC_ISSUER: 'https://login.example.test',
    SALLYPORT_OIDC_CLIENT_ID: 'other',
    SALLYPORT_OIDC_AUDITOR_GROUPS: 'audit, revision',
    SALLYPORT_OIDC_CLIENT_SECRET_FILE: '/secret',
  }
  expect(read(['--oidc-link-by-email'], environment).options.login).toMatchObject({
    clientId: 'other',
    clientSecretFile: '/secret',
    auditorGroups: ['audit', 'revision'],
    linkByEmail: true,
  })
})

test('help is asked for', () => {
  expect(readOptions(['--help'], {})).toBeUndefined()
})
