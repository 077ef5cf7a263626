import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest'
import { issueSshSessionCertificate } from '../../../certs/issue-ssh-session.ts'
import { createFiles, type Files } from '../../../deploy/demo/stand-in/files.ts'
import { readLine } from '../../../deploy/demo/stand-in/read-line.ts'
import { runLine, type LineEnd } from '../../../deploy/demo/stand-in/run-line.ts'
import { verifySessionCertificate } from '../../../deploy/demo/stand-in/session-certificate.ts'
import { createSshKey } from '../../fakes/ssh-keys.ts'
import { createTestClock, type TestClock } from '../../test-clock.ts'
import { createSshWorld, newSshAuthority } from '../certs/ssh-world.ts'

describe('whom the stand-in takes', async () => {
  const { clock, upstream, person } = createSshWorld()
  const session = {
    ...{ publicKey: createSshKey().publicKey, account: 'viewer', clock, demo: true },
    ...{ sessionId: randomUUID(), grantId: randomUUID(), personEmail: 'dev@example.test' },
    ...{ sourceAddresses: ['127.0.0.1'], permissions: [], validForMs: 300_000 },
  }
  const { certificate: good } = await issueSshSessionCertificate(upstream, session)
  const verify = (blob: Buffer, more: { account?: string; from?: string; afterMs?: number } = {}) =>
    verifySessionCertificate(blob, {
      authorities: [upstream.publicKey],
      account: more.account ?? 'viewer',
      remoteAddress: more.from ?? '127.0.0.1',
      atMs: clock.wallMs() + (more.afterMs ?? 0),
    })

  it('takes a session’s certificate, from its address, while it is valid', () => {
    expect(verify(good).keyId).toContain('dev@example.test')
    expect(verify(good, { from: '::ffff:127.0.0.1', afterMs: 299_000 }).principals).toEqual([
      'viewer',
    ])
  })

  it('takes no other', async () => {
    const other = await issueSshSessionCertificate(newSshAuthority('ssh-upstream'), session)
    expect(() => verify(other.certificate)).toThrow('another authority')
    expect(() => verify(good, { account: 'operator' })).toThrow('not for operator')
    expect(() => verify(good, { afterMs: 301_000 })).toThrow('has ended')
    expect(() => verify(good, { afterMs: -3_600_000 })).toThrow('not valid yet')
    expect(() => verify(good, { from: '192.0.2.1' })).toThrow('not for 192.0.2.1')
    const login = (await person()).certificate
    expect(() => verify(login)).toThrow('another authority')
    for (let at = 0; at < good.length; at += 7) {
      const damaged = Buffer.from(good)
      damaged[at]! ^= 1
      expect(() => verify(damaged), `byte ${at}`).toThrow()
    }
  })
})

test('a line is words between ; and &&, with quotes; what is more is refused', () => {
  expect(readLine(`echo 'a  b'"c d"\\;e && ls;`)).toEqual([
    { words: ['echo', 'a  bc d;e'], needsSuccess: false },
    { words: ['ls'], needsSuccess: true },
  ])
  expect(readLine('  ')).toEqual([])
  for (const line of [
    'a | b',
    'a > b',
    'a $b',
    'a `b`',
    'a & b',
    "a 'b",
    'a "$b"',
    '&& a',
    'a &&',
  ]) {
    expect(() => readLine(line), line).toThrow()
  }
})

describe('a line that is run', () => {
  let clock: TestClock
  let files: Files
  beforeEach(() => {
    clock = createTestClock()
    files = createFiles(clock)
  })
  afterEach(() => files.close())

  const start = (line: string) => {
    const stopping = new AbortController()
    const said = { out: '', err: '' }
    const ended: Promise<LineEnd> = runLine(
      line,
      { account: 'operator', files, clock, startedMs: 0 },
      {
        write: (text) => (said.out += text),
        complain: (text) => (said.err += text),
        signal: stopping.signal,
      },
    )
    return { said, ended, stop: () => stopping.abort() }
  }

  it('prints, complains and ends with a code', async () => {
    const ran = start('ls; ls site; cat site/site.conf nothing; echo never')
    expect(await ran.ended).toEqual({ code: 0, leaves: false })
    expect(ran.said.out).toMatch(/^README\nsite\/\nsite\.conf\nlogs\/\nlisten 80\n[^]*never\n$/)
    expect(ran.said.err).toBe('cat: nothing: there is no such file\n')
    expect(await start('false && echo a').ended).toEqual({ code: 1, leaves: false })
    expect(await start('exit 3; echo a').ended).toEqual({ code: 3, leaves: true })
    expect(await start('constructor').ended).toMatchObject({ code: 127 })
    expect(await start('help').ended).toMatchObject({ code: 0 })
  })

  it('follows the log until its time is over, or somebody ends it', async () => {
    const timed = start('timeout 6 tail -n 1 -f site/logs/access.log; whoami')
    clock.advance(3_500)
    clock.advance(3_500)
    expect(await timed.ended).toMatchObject({ code: 0 })
    expect(timed.said.out).toMatch(/^(?:\S+ GET \S+ 200 \d+\n){3}operator\n$/)
    const stopped = start('sleep 1000; whoami')
    stopped.stop()
    expect(await stopped.ended).toMatchObject({ code: 130 })
    expect(stopped.said.out).toBe('')
    files.close()
    expect(clock.pendingTimers).toBe(0)
  })
})
