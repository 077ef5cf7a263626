/** Both handshakes: what is let in, how the resource is logged in to, and what anybody is told. */
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { startupPacket } from '../../protocols/postgres/wire/startup.ts'
import {
  account,
  domain,
  eventually,
  secret,
  startRealPostgres,
  startSite,
  type RealPostgres,
  type Site,
} from '../fakes/postgres-site.ts'

let real: RealPostgres

beforeAll(async () => {
  real = await startRealPostgres()
})
afterAll(async () => {
  await real?.stop()
})

async function withSite(
  options: Parameters<typeof startSite>[1],
  run: (site: Site) => Promise<void>,
): Promise<void> {
  const site = await startSite(real, options)
  try {
    await run(site)
    await eventually(() => site.server.serving === 0)
    expect(site.server.crashes).toEqual([])
    expect(JSON.stringify(site.server.logged)).not.toContain(secret)
    for (const session of site.gate.sessions) {
      for (const loan of session.lent) expect(() => loan.reveal()).toThrow('dropped')
    }
  } finally {
    await site.close()
  }
}

const upstream = (more: object) => ({
  host: '127.0.0.1',
  port: real.port,
  serverName: 'resource.internal',
  tls: 'verify-full' as const,
  caPem: real.certificates.caPem,
  ...more,
})

describe('login at the resource', () => {
  test.each(['disable', 'require', 'verify-full'] as const)('SCRAM, tls %s', (tls) =>
    withSite({ tls }, async (site) => {
      const { stdout, stderr } = await site.psql(
        ...['-c', `select ssl from pg_stat_ssl where pid = pg_backend_pid()`],
      )
      expect({ stdout, stderr }).toEqual({ stdout: tls === 'disable' ? 'f\n' : 't\n', stderr: '' })
    }),
  )

  test.each(['md5_account', 'clear_account'])('%s: over verify-full only', async (name) => {
    await withSite({ gate: { account: name } }, async (site) => {
      expect((await site.psql('-c', 'select current_user')).stdout).toBe(`${name}\n`)
    })
    await withSite({ tls: 'require', gate: { account: name } }, async (site) => {
      const { stderr } = await site.psql('-c', 'select 1')
      expect(stderr).toContain('the proxy refused to log in at the resource')
      expect(stderr).not.toContain(name)
    })
  })

  test('a wrong secret: the client learns neither account nor cause', () =>
    withSite({ gate: { secret: 'wrong' } }, async (site) => {
      const { code, stderr } = await site.psql('-c', 'select 1')
      expect(code).toBe(2)
      expect(stderr).toContain('FATAL:  the resource refused the login of the proxy')
      expect(stderr).not.toContain(account)
      expect(JSON.stringify(site.server.logged)).toContain('28P01')
    }))

  test('a database that is not there', () =>
    withSite({}, async (site) => {
      site.environment['PGDATABASE'] = 'nope'
      expect((await site.psql('-c', 'select 1')).stderr).toContain('no database of that name')
    }))

  test.each([
    ['another name in its certificate', { serverName: 'other.internal' }],
    ['an unknown authority', { caPem: undefined }],
  ])('%s', (_name, more) =>
    withSite({ gate: { upstream: upstream(more) } }, async (site) => {
      const { stderr } = await site.psql('-c', 'select 1')
      expect(stderr).toContain('no secure connection to the resource could be made')
      expect(site.gate.sessions[0]!.ended?.reason).toBe('upstream-failed')
    }),
  )

  test('nobody listens', () =>
    withSite({ gate: { upstream: upstream({ port: 1 }) } }, async (site) => {
      expect((await site.psql('-c', 'select 1')).stderr).toContain('cannot be reached')
    }))

  test('a resource that says nothing', () =>
    withSite({ limits: { upstreamConnectMs: 300 } }, async (site) => {
      const { createServer } = await import('node:net')
      const silent = createServer(() => {}).listen(0, '127.0.0.1')
      await eventually(() => silent.listening)
      const { port } = silent.address() as { port: number }
      const slow = await startSite(real, {
        limits: { upstreamConnectMs: 300 },
        gate: { upstream: upstream({ port }) },
      })
      expect((await slow.psql('-c', 'select 1')).stderr).toContain('did not answer in time')
      await slow.close()
      silent.close()
      expect(site.server.crashes).toEqual([])
    }))
})

describe('greeting the client', () => {
  const refusal = async (site: Site, more: NodeJS.ProcessEnv): Promise<string> => {
    Object.assign(site.environment, more)
    return (await site.psql('-c', 'select 1')).stderr
  }

  test('plaintext is refused with what to set', () =>
    withSite({}, async (site) => {
      const stderr = await refusal(site, { PGSSLMODE: 'disable' })
      expect(stderr).toContain('FATAL:  this proxy takes encrypted connections')
      expect(stderr).toMatch(/HINT: .*sslmode=verify-full.*sslrootcert.*sslcert.*sslkey/)
      expect(site.gate.arrivals).toEqual([])
    }))

  test('no certificate: told to set one', () =>
    withSite({}, async (site) => {
      delete site.environment['PGSSLCERT']
      delete site.environment['PGSSLKEY']
      expect(await refusal(site, {})).toContain('no password supplied')
      expect(site.gate.arrivals).toEqual([])
      expect(
        await site
          .client({ ssl: tlsOf(site) })
          .connect()
          .catch(String),
      ).toContain('a client certificate is required')
      expect(site.gate.arrivals[0]!.evidence).toEqual({ kind: 'none' })
    }))

  test("a password is a token, and the gate's to judge", () =>
    withSite({}, async (site) => {
      delete site.environment['PGSSLCERT']
      delete site.environment['PGSSLKEY']
      site.environment['PGPASSWORD'] = 'sp1_shown'
      expect((await site.psql('-c', 'select 1 as one')).stdout).toContain('1')
      expect(site.gate.arrivals[0]!.evidence).toEqual({ kind: 'token', token: 'sp1_shown' })
      site.gate.refuse = () =>
        new SallyportError('token-refused', 'used', { clientMessage: 'not accepted' })
      expect(await refusal(site, {})).toContain('FATAL:  not accepted')
      expect(JSON.stringify(site.server.logged)).not.toContain('sp1_shown')
    }))

  test.each([
    ['a message of another kind', Buffer.from([0x51, 0, 0, 0, 5, 0])],
    ['a length that is too short', Buffer.from([0x70, 0, 0, 0, 4])],
    ['a length that is too long', Buffer.from([0x70, 0, 1, 0, 0])],
    ['no end of the text', Buffer.from([0x70, 0, 0, 0, 5, 0x61])],
    ['two texts', Buffer.from([0x70, 0, 0, 0, 7, 0x61, 0, 0])],
  ])('instead of a password: %s', (_name, bytes) =>
    withSite({}, async (site) => {
      const told = await sayInsteadOfPassword(site, bytes)
      expect(told.subarray(0, 9)).toEqual(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]))
      expect(told.toString()).toMatch(/expected a password message|the password is too long/)
      expect(site.gate.arrivals).toEqual([])
    }),
  )

  test('a password that never comes: the handshake has one deadline', () =>
    withSite({ limits: { handshakeMs: 300 } }, async (site) => {
      expect(await sayInsteadOfPassword(site, Buffer.alloc(0))).toHaveLength(9)
      expect(JSON.stringify(site.server.logged)).toContain('handshake-timeout')
    }))

  test("a stranger's certificate is the gate's to judge", () =>
    withSite({}, async (site) => {
      site.gate.refuse = () => new SallyportError('access-denied', 'because')
      const stderr = await refusal(site, {
        PGSSLCERT: real.certificates.file('stranger', 'crt'),
        PGSSLKEY: real.certificates.file('stranger', 'key'),
      })
      expect(stderr).toContain('FATAL:  the connection was refused')
      expect(stderr).not.toContain('because')
      expect(site.gate.arrivals[0]!.evidence.kind).toBe('client-certificate')
    }))

  test.each([
    [`orders-db.${domain}`, 'me', 'orders-db', ''],
    [`orders-db.${domain}`, 'read~', 'orders-db', 'read'],
    [`orders-db.${domain}`, 'app_rw~orders-db', 'orders-db', 'app_rw'],
    [domain, '~orders-db', 'orders-db', ''],
    [domain, 'admin~Orders-DB', 'orders-db', 'admin'],
  ])('host %s and user %s', (PGHOST, PGUSER, resource, wanted) =>
    withSite({}, async (site) => {
      expect(await refusal(site, { PGHOST, PGUSER })).toBe('')
      expect(site.gate.arrivals[0]).toMatchObject({ resource, wanted })
    }),
  )

  test('two names that disagree, and none', () =>
    withSite({}, async (site) => {
      expect(await refusal(site, { PGUSER: 'x~other-db' })).toContain('two different resources')
      expect(await refusal(site, { PGUSER: 'me', PGHOST: domain })).toContain('which resource?')
      expect(site.gate.arrivals).toEqual([])
    }))

  test('replication is refused', () =>
    withSite({}, async (site) => {
      const { stderr } = await site.run('psql', ['-X', 'replication=database', '-c', 'select 1'])
      expect(stderr).toContain('replication is not possible')
    }))

  test('GSS encryption is declined, then TLS goes on', () =>
    withSite({}, async (site) => {
      const socket = connectTcp(site.server.port, '127.0.0.1')
      const said: Buffer[] = []
      socket.on('data', (chunk) => said.push(chunk))
      socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30]))
      await eventually(() => Buffer.concat(said).toString() === 'N')
      socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]))
      await eventually(() => Buffer.concat(said).toString() === 'NS')
      socket.destroy()
    }))

  test('direct TLS needs ALPN; protocol 3.2 is negotiated down', () =>
    withSite({}, async (site) => {
      const { certificates } = real
      const dial = (ALPNProtocols: string[]) =>
        connectTls({
          port: site.server.port,
          host: '127.0.0.1',
          servername: `orders-db.${domain}`,
          ca: certificates.caPem,
          cert: certificates.read('client', 'crt'),
          key: certificates.read('client', 'key'),
          ALPNProtocols,
        })
      const body = Buffer.from('user\0me\0database\0shop\0_pq_.thing\0on\0\0')
      const head = Buffer.alloc(8)
      head.writeUInt32BE(8 + body.length, 0)
      head.writeUInt32BE((3 << 16) | 2, 4)
      const good = dial(['postgresql'])
      const said: Buffer[] = []
      good.on('data', (chunk: Buffer) => said.push(chunk))
      good.write(Buffer.concat([head, body]))
      await eventually(() => Buffer.concat(said).includes('Z\0\0\0\x05I'))
      const answer = Buffer.concat(said)
      expect(answer[0]).toBe('v'.charCodeAt(0))
      expect(answer.includes('_pq_.thing')).toBe(true)
      expect(answer.readUInt32BE(5)).toBe(3 << 16)
      good.destroy()
      const bad = dial([])
      const refused: Buffer[] = []
      bad.on('data', (chunk: Buffer) => refused.push(chunk))
      bad.on('error', () => {})
      await eventually(() => Buffer.concat(refused).includes('ALPN'))
      bad.destroy()
    }))
})

const tlsOf = (_site: Site) => ({
  servername: `orders-db.${domain}`,
  ca: real.certificates.caPem,
})

/** A start-up inside TLS without a certificate, and these bytes once the password is asked for; gives all that came. */
async function sayInsteadOfPassword(site: Site, bytes: Buffer): Promise<Buffer> {
  const tcp = connectTcp(site.server.port, '127.0.0.1')
  const socket = connectTls({ socket: tcp, ...tlsOf(site), ALPNProtocols: ['postgresql'] })
  const received: Buffer[] = []
  return new Promise((resolve) => {
    socket.on('secureConnect', () => socket.write(startupPacket(new Map([['user', 'me']]))))
    socket.on('data', (chunk: Buffer) => {
      if (received.length === 0) socket.write(bytes)
      received.push(chunk)
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(received)))
  })
}
