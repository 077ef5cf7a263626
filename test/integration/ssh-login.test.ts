/** The ways in, and the ways to the resource: who is let in by what, what is refused, and in which words. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server as TcpServer } from 'node:net'
import { join } from 'node:path'
import ssh2 from 'ssh2'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { parseSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import { verifySshSignature } from '../../protocols/kit/ssh-signature.ts'
import type { Cut } from '../../protocols/session.ts'
import { eventually } from '../fakes/postgres-site.ts'
import { fakeIdentity, type FakeGateOptions } from '../fakes/gate.ts'
import { makeKey, publicKeyBlob, startSshd, type SshdSite } from '../fakes/sshd-site.ts'
import { ranToEnd } from '../ran-to-end.ts'
import { domain, startSshSite, type SshSite } from '../fakes/ssh-site.ts'

let sshd: SshdSite
beforeAll(async () => {
  sshd = await startSshd({ hostCertificateFor: ['127.0.0.1', 'inside.test'] })
})
afterAll(() => sshd?.stop())

async function withSite(
  options: Parameters<typeof startSshSite>[1],
  run: (site: SshSite) => Promise<void>,
): Promise<void> {
  await using site = await startSshSite(sshd, options)
  await run(site)
  await eventually(() => site.server.serving === 0)
  expect(site.server.crashes).toEqual([])
  for (const session of site.gate.sessions) {
    await session.closed
    for (const record of session.records) expect(record.outcomes).toHaveLength(1)
    for (const loan of session.lent) expect(() => loan.reveal()).toThrow('dropped')
  }
}

const upstream = (ssh: object, port = sshd.port): Partial<FakeGateOptions> => ({
  upstream: {
    ...{ host: '127.0.0.1', port, serverName: '127.0.0.1', tls: 'disable' },
    ssh: { hostKeys: [], hostAuthorities: [], ...ssh },
  },
})

describe('who is let in', () => {
  test('keys and certificates prove possession, once for a jump', () =>
    withSite({}, async (site) => {
      execFileSync('ssh-keygen', [
        ...['-q', '-s', join(site.folder, 'host-ca'), '-I', 'me', '-n', 'me'],
        join(site.folder, 'id.pub'),
      ])
      const shown: boolean[] = []
      site.gate.identifies = (evidence) => {
        if (evidence.kind !== 'ssh-key') throw new Error('no key')
        const publicKey = parseSshPublicKey(publicKeyBlob(join(site.folder, 'id.pub')))
        shown.push(verifySshSignature({ ...evidence, publicKey }))
        return Promise.resolve(fakeIdentity())
      }
      const ran = await site.ssh([site.jumped, 'true'])
      expect(ran).toMatchObject({ code: 0, err: '' })
      expect(shown).toEqual([true])
      expect(site.gate.arrivals[0]).toMatchObject({
        ...{ evidence: { kind: 'identity' }, resource: 'web1', wanted: '', protocol: 'ssh' },
      })
    }))

  test('whose time is over keeps what is open, and begins nothing, also over a shared connection', () =>
    withSite({}, async (site) => {
      const end = new AbortController()
      site.gate.identifies = () => Promise.resolve(fakeIdentity(undefined, end))
      const shared = ['-o', `ControlPath=${join(site.folder, 'control')}`]
      const master = site.start('ssh', [...shared, '-M', '-N', domain])
      const left = ranToEnd(master)
      await eventually(() => existsSync(join(site.folder, 'control')))
      const over = `ssh -F ${join(site.folder, 'config')} ${shared.join(' ')} -W [%h]:22 ${domain}`
      const inside = ['-o', `ProxyCommand=${over}`, site.jumped]
      const open = site.start('ssh', [...inside, 'cat'])
      const ended = ranToEnd(open)
      open.stdin.write('before ')
      await eventually(() => site.gate.sessions[0]?.isOpen === true)
      end.abort({
        ...{ reason: 'certificate-revoked', orderedAtMs: 1 },
        ...{ message: 'the time of your certificate is over', hint: 'sign in again: sally login' },
      } satisfies Cut)
      const late = await site.ssh([...inside, 'true'])
      expect(late.code).toBe(255)
      expect(site.gate.sessions).toHaveLength(1)
      open.stdin.end('after')
      expect(await ended).toMatchObject({ code: 0, out: Buffer.from('before after') })
      // The next one over it would be refused too: whoever comes makes a new one.
      expect((await left).err).toContain('the time of your certificate is over')
    }))

  test.each(['ecdsa', 'rsa'])('keys of type %s count too', (type) =>
    withSite({}, async (site) => {
      makeKey(site.folder, type, type)
      const shown: boolean[] = []
      site.gate.identifies = (evidence) => {
        if (evidence.kind !== 'ssh-key') throw new Error('no key')
        const publicKey = parseSshPublicKey(evidence.publicKey)
        shown.push(verifySshSignature({ ...evidence, publicKey }))
        return Promise.resolve(fakeIdentity())
      }
      const other = ['-o', 'IdentityFile=none', '-i', join(site.folder, type)]
      const ran = await site.ssh([...other, `ops~web1@${domain}`, 'true'])
      expect(ran).toMatchObject({ code: 0, err: '' })
      expect(shown).toContain(true)
      expect(site.gate.arrivals[0]).toMatchObject({ resource: 'web1', wanted: 'ops' })
    }),
  )

  test('who is not recognised, or not believed, is told why and stays out', () =>
    withSite({}, async (site) => {
      site.gate.recognises = () => Promise.resolve(false)
      const unknown = await site.ssh(['-o', 'BatchMode=yes', site.direct, 'true'])
      expect(unknown.err).toContain('Permission denied (publickey,keyboard-interactive)')
      site.gate.recognises = () => Promise.resolve(true)
      site.gate.identifies = () =>
        Promise.reject(
          new SallyportError('evidence-expired', 'it ended', {
            clientMessage: 'your certificate has expired',
            hint: 'Sign in again: sally login',
          }),
        )
      const expired = await site.ssh([
        '-o',
        'BatchMode=yes',
        '-o',
        'LogLevel=INFO',
        site.direct,
        'true',
      ])
      expect(expired.err).toContain('your certificate has expired. Sign in again: sally login')
      expect(site.gate.arrivals).toEqual([])
    }))

  test('signing in at the provider is shown, waited for, and enough', () => {
    const signIn: FakeGateOptions['signIn'] = async (_address, show) => {
      const notice = 'This signs in the SSH client at 198.51.100.7.'
      const prompt = { url: 'https://sign.in.test/x', code: 'ABCD-EFGH', notice }
      show({ ...prompt, expiresAtMs: Date.now() + 60_000 })
      await new Promise((resolve) => {
        setTimeout(resolve, 100)
      })
      return fakeIdentity()
    }
    return withSite({ gate: { signIn } }, async (site) => {
      const client = new ssh2.Client()
      const code = await new Promise((resolve, reject) => {
        client.on('error', reject)
        client.on('ready', () =>
          client.exec('exit 4', (error, channel) => {
            if (error !== undefined) reject(error)
            else channel.on('exit', resolve).resume()
          }),
        )
        const username = 'sallyport~web1'
        client.connect({ port: site.server.port, host: '127.0.0.1', username, tryKeyboard: true })
      })
      client.end()
      expect(code).toBe(4)
      const shown = await site.ssh([
        ...['-o', 'PubkeyAuthentication=no', '-o', 'LogLevel=INFO'],
        ...[site.direct, 'true'],
      ])
      expect(shown.code).toBe(0)
      // Who is signed in where stands above the link.
      expect(shown.err).toMatch(/signs in the SSH client at 198\.51\.100\.7[\s\S]*sign\.in\.test/)
    })
  })

  test('a password is nothing here', () =>
    withSite({}, async (site) => {
      const client = new ssh2.Client()
      const failed = new Promise((resolve) => client.on('error', resolve))
      client.connect({
        port: site.server.port,
        host: '127.0.0.1',
        username: 'a~web1',
        password: 'x',
      })
      expect(String(await failed)).toContain('authentication methods failed')
    }))

  test('what the gate refuses is a text on the first channel', () =>
    withSite({}, async (site) => {
      site.gate.refuse = () =>
        new SallyportError('access-denied', 'no grant for Mallory', {
          clientMessage: 'you have no grant for web1',
          hint: 'sally request web1 --level read',
        })
      for (const host of [site.direct, site.jumped]) {
        const ran = await site.ssh([host, 'true'])
        expect(ran.code).toBe(255)
        expect(ran.err).toContain('you have no grant for web1. sally request web1 --level read')
        expect(ran.err).not.toContain('Mallory')
      }
    }))

  test('who names no resource is told how; nothing else is reached through the jump', () =>
    withSite({}, async (site) => {
      const ran = await site.ssh([domain, 'true'])
      expect(ran.code).toBe(255)
      expect(ran.err).toContain(`ssh <account>~<resource>@${domain}`)
      const elsewhere = await site.ssh(['-o', 'LogLevel=INFO', '-W', '127.0.0.1:22', domain])
      expect(elsewhere.err).toContain(`only <resource>.${domain} can be reached`)
    }))

  test('two names that disagree are refused', () =>
    withSite({}, async (site) => {
      const ran = await site.ssh(['-l', 'ops~web2', site.jumped, 'true'])
      expect(ran.err).toContain('the user name says "web2" and the host name "web1"')
      expect(site.gate.arrivals).toEqual([])
    }))
})

describe('the way to the resource', () => {
  const failing = (site: SshSite) => site.ssh([site.direct, 'true'])

  test('a certificate of the session’s own, and no secret', () =>
    withSite(
      {
        gate: {
          certify: (key) =>
            Promise.resolve({ account: sshd.account, certificate: sshd.certify(key) }),
        },
      },
      async (site) => {
        expect(await site.ssh([site.direct, 'true'])).toMatchObject({ code: 0, err: '' })
        expect(site.gate.sessions[0]!.lent).toEqual([])
      },
    ))

  test('a certificate that sshd does not take is refused, in words that name no account', () =>
    withSite(
      {
        gate: {
          certify: (key) =>
            Promise.resolve({
              account: sshd.account,
              certificate: sshd.certify(key, { validity: '-2h:-1h' }),
            }),
        },
      },
      async (site) => {
        const ran = await failing(site)
        expect(ran).toMatchObject({ code: 255 })
        expect(ran.err).toContain('the resource did not take the login')
        expect(site.gate.sessions[0]!.ended!.reason).toBe('upstream-failed')
      },
    ))

  test('a key of another host is refused before anything is said', () =>
    withSite({ gate: upstream({ hostKeys: [sshd.hostAuthority] }) }, async (site) => {
      const ran = await failing(site)
      expect(ran.err).toContain('does not prove to be the host')
      expect(site.gate.sessions[0]!.lent).toEqual([])
    }))

  test('a host certificate of the authority counts, if it names the host', async () => {
    const trust = { hostAuthorities: [sshd.hostAuthority] }
    await withSite({ gate: upstream(trust) }, async (site) => {
      expect(await site.ssh([site.direct, 'true'])).toMatchObject({ code: 0, err: '' })
    })
    const wrong = { hostAuthorities: [sshd.hostKey] }
    await withSite({ gate: upstream(wrong) }, async (site) => {
      expect((await failing(site)).err).toContain('does not prove to be the host')
    })
    const named = upstream(trust)
    const elsewhere = { ...named, upstream: { ...named.upstream!, host: 'localhost' } }
    await withSite({ gate: elsewhere }, async (site) => {
      expect((await failing(site)).err).toContain('does not prove to be the host')
    })
  })

  test('through a bastion, which knows no more than an address', async () => {
    const bastion = {
      ...{ host: '127.0.0.1', port: sshd.port },
      ...{ hostKeys: [], hostAuthorities: [sshd.hostAuthority] },
    }
    const trust = { hostKeys: [], hostAuthorities: [sshd.hostAuthority], bastion }
    await withSite({ gate: upstream(trust) }, async (site) => {
      const sent = Buffer.alloc(2_000_000, 3)
      const ran = await site.ssh([site.jumped, 'cat'], sent)
      expect(ran.err).toBe('')
      expect(ran.out.equals(sent)).toBe(true)
      // The bastion's and the resource's; both are dropped, as every loan is.
      expect(site.gate.sessions[0]!.lent).toHaveLength(2)
    })
  })

  test('a password, where that is what the store holds', async () => {
    const server = new ssh2.Server(
      { hostKeys: [readFileSync(join(sshd.folder, 'host'))] },
      (client) => {
        client.on('error', () => {})
        client.on('authentication', (context) => {
          if (context.method === 'password' && context.password === 'open sesame') context.accept()
          else context.reject(['password'])
        })
        client.on('session', (accept) =>
          accept().on('exec', (accept) => {
            const channel = accept()
            channel.exit(5)
            channel.end()
          }),
        )
      },
    )
    const tcp = await new Promise<TcpServer>((resolve) => {
      const listener = createServer((socket) => server.injectSocket(socket))
      listener.listen(0, '127.0.0.1', () => resolve(listener))
    })
    const { port } = tcp.address() as AddressInfo
    await withSite(
      { gate: { ...upstream({ hostKeys: [sshd.hostKey] }, port), secret: 'open sesame' } },
      async (site) => expect((await site.ssh([site.direct, 'x'])).code).toBe(5),
    )
    tcp.close()
  })

  test('command rules refuse what they do not allow, with the reason', () =>
    withSite({ terms: { allow: ['echo *', 'a && b'], deny: ['*forbidden*'] } }, async (site) => {
      expect((await site.ssh([site.direct, 'echo one two'])).out.toString()).toBe('one two\n')
      for (const line of ['echo x; id', 'echo $(id)', 'echo forbidden', 'id', 'echo x\nid']) {
        const ran = await site.ssh([site.direct, line])
        expect(ran, line).toMatchObject({ code: 126 })
        expect(ran.out.length).toBe(0)
        expect(ran.err).toContain('Ask the owner')
        expect(site.gate.records.at(-1)).toMatchObject({ outcomes: [{ status: 'skipped' }] })
      }
      const shell = await site.ssh(['-T', site.direct], 'id\n')
      expect(shell).toMatchObject({ code: 126 })
      expect(shell.err).toContain('takes single commands')
    }))
})
