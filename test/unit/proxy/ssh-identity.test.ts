import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { issueSshHostCertificate } from '../../../certs/issue-ssh-host.ts'
import { issueSshPersonCertificate } from '../../../certs/issue-ssh-person.ts'
import type { ApiClient } from '../../../control/api/client.ts'
import type { Evidence, Identity, SignInPrompt } from '../../../protocols/engine.ts'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseSshCertificate } from '../../../protocols/kit/ssh-certificate.ts'
import { sshFingerprint, sshPublicKeyLine } from '../../../protocols/kit/ssh-public-key.ts'
import { sshString } from '../../../protocols/kit/ssh-wire.ts'
import type { Cut } from '../../../protocols/session.ts'
import type { Confirmation } from '../../../proxy/control-link/confirmations.ts'
import {
  advanceUntil,
  createProxyWorld,
  otherPerson,
  person,
  turns,
  type ProxyWorld,
} from '../../fakes/proxy-world.ts'
import { createSshKey, type SshKey } from '../../fakes/ssh-keys.ts'
import { newSshAuthority } from '../certs/ssh-world.ts'

const address = '203.0.113.7'
const authority = newSshAuthority('ssh-people')
const hosts = newSshAuthority('ssh-hosts')

let world: ProxyWorld
let key: SshKey

beforeEach(async () => {
  world = await createProxyWorld()
  key = createSshKey()
  await world.feed({ kind: 'ssh-authorities', people: [sshPublicKeyLine(authority.publicKey)] })
})
afterEach(() => world.close())

type PersonOptions = Parameters<typeof issueSshPersonCertificate>[1]

const certify = async (changes: Partial<PersonOptions> = {}, by = authority) => {
  const { certificate: blob } = await issueSshPersonCertificate(by, {
    ...{ publicKey: key.publicKey, realm: 'default', personId: person, demo: false },
    ...{ email: 'dev@example.test', validForMs: 3_600_000, clock: world.clock },
    ...changes,
  })
  return blob
}

/** What a client signs to log in (RFC 4252, chapter 7). */
const loginOf = (blob: Buffer, method = 'publickey'): Buffer =>
  Buffer.concat([
    ...[sshString(Buffer.alloc(32, 7)), Buffer.of(50), sshString('sallyport')],
    ...[sshString('ssh-connection'), sshString(method), Buffer.of(1)],
    ...[sshString('any'), sshString(blob)],
  ])

const shown = (blob: Buffer, by = key, signed = loginOf(blob)): Evidence => ({
  ...{ kind: 'ssh-key', publicKey: blob, signed },
  ...by.sign(signed),
})

const register = (personId = person, expiresAtMs = world.clock.wallMs() + 86_400_000) =>
  world.feed({
    ...{ kind: 'ssh-key', personId, personEmail: 'dev@example.test' },
    ...{ fingerprint: sshFingerprint(key.publicKey), publicKey: key.line },
    ...{ addedAtMs: world.clock.wallMs(), expiresAtMs },
  })

const identify = (evidence: Evidence): Promise<Identity> =>
  advanceUntil(world, world.identification.identify(evidence, address))
const reasonOf = (signal: AbortSignal): string | undefined =>
  (signal.reason as Cut | undefined)?.reason
const serialOf = (blob: Buffer): string => parseSshCertificate(blob).serial.toString(16)
const admitAs = (identity: Identity) =>
  advanceUntil(world, world.admit({ evidence: { kind: 'identity', identity } }))
const letIn = async (): Promise<void> => {
  await world.feed({ kind: 'grant', token: await world.confirmGrant() })
}

describe('a certificate of SSH', () => {
  it('is its person until it is revoked, and so are their sessions', async () => {
    await letIn()
    const certificate = await certify()
    const identity = await identify(shown(certificate))
    expect(identity).toMatchObject({
      realm: 'default',
      personId: person,
      personEmail: 'dev@example.test',
    })
    const session = await admitAs(identity)
    expect(world.control.asked.at(-1)).toMatchObject({ certificateSerial: serialOf(certificate) })
    expect(world.spool.events.at(-1)?.meta).toMatchObject({
      evidence: 'certificate',
      certificateSerial: serialOf(certificate),
    })
    const other = await identify(shown(await certify()))
    await world.feed({
      ...{ kind: 'certificate-revoked', serial: serialOf(certificate) },
      ...{ orderedAtMs: 7, expiresAtMs: world.clock.wallMs() + 1 },
    })
    await turns()
    expect(identity.signal.reason).toMatchObject({ reason: 'certificate-revoked', orderedAtMs: 7 })
    expect(reasonOf(session.signal)).toBe('certificate-revoked')
    expect(other.signal.aborted).toBe(false)
    await expect(admitAs(identity)).rejects.toMatchObject({ code: 'evidence-invalid' })
    await expect(identify(shown(certificate))).rejects.toMatchObject({ code: 'evidence-invalid' })
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 9 })
    expect(other.signal.reason).toMatchObject({ reason: 'person-revoked', orderedAtMs: 9 })
  })

  it('ends to the millisecond, on the clock that no wall clock moves', async () => {
    await letIn()
    const identity = await identify(shown(await certify({ validForMs: 60_000 })))
    const session = await admitAs(identity)
    const leftMs = 60_000 - (world.clock.wallMs() % 1_000) - 1_000
    world.clock.skewWall(-30_000)
    world.clock.advance(leftMs)
    expect(identity.expiry.aborted).toBe(false)
    world.clock.advance(2_000)
    expect(identity.expiry.reason).toMatchObject({ message: /time of your certificate is over/ })
    await expect(admitAs(identity)).rejects.toMatchObject({ code: 'evidence-expired' })
    // A session goes on to the end of its grant, as under a certificate of X.509.
    expect(session.signal.aborted).toBe(false)
    expect(identity.signal.aborted).toBe(false)
    // Revoked, it goes with what it let in.
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 9 })
    expect(identity.signal.reason).toMatchObject({ reason: 'person-revoked' })
  })

  it('of one second lets in nobody after it, also where the clock jumps or the timer is late', async () => {
    await letIn()
    const certificate = await certify({ validForMs: 1_000 })
    const identity = await identify(shown(certificate))
    world.clock.skewWall(2_000)
    await expect(admitAs(identity)).rejects.toMatchObject({ code: 'evidence-expired' })
    await expect(identify(shown(certificate))).rejects.toMatchObject({ code: 'evidence-expired' })
    world.clock.advance(300)
    expect(identity.expiry.aborted).toBe(true)
  })

  it.each<[string, string, () => Promise<Evidence>]>([
    [
      'of another authority',
      'evidence-invalid',
      async () => shown(await certify({}, newSshAuthority('ssh-people'))),
    ],
    ['of another realm', 'evidence-invalid', async () => shown(await certify({ realm: 'other' }))],
    ['of a demo', 'demo-in-production', async () => shown(await certify({ demo: true }))],
    [
      'from elsewhere',
      'evidence-invalid',
      async () => shown(await certify({ sourceAddress: '10.0.0.0/8' })),
    ],
    [
      'not yet valid',
      'evidence-expired',
      async () => shown(await certify({ beginsAfterMs: world.clock.wallMs() + 600_000 })),
    ],
    [
      'that is a host’s',
      'evidence-invalid',
      async () => {
        const common = { name: 'web1', proxyId: randomUUID(), validForMs: 60_000, demo: false }
        const { certificate: blob } = await issueSshHostCertificate(hosts, {
          ...common,
          publicKey: key.publicKey,
          clock: world.clock,
        })
        return shown(blob)
      },
    ],
    [
      'with a forged serial',
      'evidence-invalid',
      async () => {
        const certificate = Buffer.from(await certify())
        const serial = parseSshCertificate(certificate).serial
        const at = certificate.indexOf(Buffer.from(serial.toString(16).padStart(16, '0'), 'hex'))
        certificate[at + 7]! ^= 1
        expect(parseSshCertificate(certificate).serial).toBe(serial ^ 1n)
        return shown(certificate)
      },
    ],
    [
      'signed by another key',
      'evidence-invalid',
      async () => shown(await certify(), createSshKey()),
    ],
    [
      'with a signature that was for something else',
      'evidence-invalid',
      async () => {
        return shown(await certify(), key, Buffer.from('SSHSIG: a commit'))
      },
    ],
    [
      'with a login by another method',
      'evidence-invalid',
      async () => {
        const certificate = await certify()
        return shown(certificate, key, loginOf(certificate, 'hostbased'))
      },
    ],
    [
      'with the proof of another key',
      'evidence-invalid',
      async () => {
        return shown(await certify(), key, loginOf(key.publicKey))
      },
    ],
    [
      'with another algorithm',
      'evidence-invalid',
      async () => {
        return { ...shown(await certify()), algorithm: 'ssh-rsa' } as Evidence
      },
    ],
  ])('%s is refused, after the time of every refusal', async (_what, code, evidence) => {
    const given = await evidence()
    const arrivedMs = world.clock.monotonicMs()
    await expect(identify(given)).rejects.toMatchObject({ code })
    expect((world.clock.monotonicMs() - arrivedMs) % 250).toBeLessThan(10)
    expect(world.clock.monotonicMs() - arrivedMs).toBeGreaterThanOrEqual(250)
    expect(world.identities.size).toBe(0)
  })
})

describe('a registered key', () => {
  it.each(['ssh-ed25519', 'ssh-rsa', 'sk-ssh-ed25519@openssh.com'] as const)(
    'of %s is its person until it is removed',
    async (type) => {
      key = createSshKey(type)
      await letIn()
      await register()
      const fingerprint = sshFingerprint(key.publicKey)
      const identity = await identify(shown(key.publicKey))
      const session = await admitAs(identity)
      expect(world.control.asked.at(-1)).toMatchObject({ keyFingerprint: fingerprint })
      expect(world.control.asked.at(-1)).not.toHaveProperty('certificateSerial')
      expect(world.spool.events.at(-1)?.meta).toMatchObject({ evidence: 'key' })
      await world.feed({ kind: 'ssh-key-removed', fingerprint, orderedAtMs: 5 })
      await turns()
      expect(identity.signal.reason).toMatchObject({
        reason: 'certificate-revoked',
        orderedAtMs: 5,
      })
      expect(session.signal.reason).toMatchObject({ message: 'your SSH key was revoked' })
      await expect(identify(shown(key.publicKey))).rejects.toMatchObject({
        code: 'evidence-invalid',
      })
    },
  )

  it('that becomes another’s, or that a resync does not name, is nobody’s of before', async () => {
    await letIn()
    for (const change of ['moved', 'left out']) {
      await register()
      const identity = await identify(shown(key.publicKey))
      const session = await admitAs(identity)
      if (change === 'moved') await register(otherPerson)
      else await world.view.replace(world.view.position + 1, [])
      await turns()
      expect(identity.signal.aborted, change).toBe(true)
      expect(session.signal.aborted, change).toBe(true)
    }
  })

  it('counts for as long as it was registered, and is kept over a restart', async () => {
    await register(person, world.clock.wallMs() + 10_000)
    const { events } = world.view.snapshot(world.clock.wallMs())
    expect(events.filter(({ kind }) => kind.startsWith('ssh'))).toHaveLength(2)
    await world.view.replace(world.view.position + 1, events)
    const identity = await identify(shown(key.publicKey))
    world.clock.advance(10_000)
    expect(identity.expiry.aborted).toBe(true)
    await expect(identify(shown(key.publicKey))).rejects.toMatchObject({ code: 'evidence-expired' })
    expect(world.view.snapshot(world.clock.wallMs() + 1).events).not.toContainEqual(
      expect.objectContaining({ kind: 'ssh-key' }),
    )
  })

  it('is asked for a signature only where it could identify somebody', async () => {
    const recognises = (blob: Buffer) => world.identification.recognises(blob)
    expect(await recognises(key.publicKey)).toBe(false)
    await register()
    expect(await recognises(key.publicKey)).toBe(true)
    expect(await recognises(await certify())).toBe(true)
    expect(await recognises(await certify({}, newSshAuthority('ssh-people')))).toBe(false)
    expect(await recognises(Buffer.from('nonsense'))).toBe(false)
    const torn = (await certify()).subarray(0, 100)
    expect(await recognises(torn)).toBe(false)
  })
})

describe('an identity', () => {
  it('is an object of this gate that was not disposed, and nothing that looks like one', async () => {
    await letIn()
    await register()
    const identity = await identify(shown(key.publicKey))
    const elsewhere = await createProxyWorld()
    await elsewhere.feed({
      kind: 'ssh-authorities',
      people: [sshPublicKeyLine(authority.publicKey)],
    })
    const certificate = await certify()
    const others = await elsewhere.identification.identify(shown(certificate), address)
    elsewhere.close()
    const copy: Identity = { ...identity, [Symbol.dispose]() {} }
    for (const forged of [others, copy, Object.create(identity) as Identity]) {
      await expect(admitAs(forged)).rejects.toMatchObject({ code: 'evidence-invalid' })
    }
    expect(() => Object.assign(identity, { personId: otherPerson })).toThrow(TypeError)
    await admitAs(identity)
    identity[Symbol.dispose]()
    await expect(admitAs(identity)).rejects.toMatchObject({ code: 'evidence-invalid' })
    await expect(identify({ kind: 'identity', identity })).rejects.toMatchObject({
      code: 'evidence-invalid',
    })
    expect(world.identities.size).toBe(0)
    await world.feed({ kind: 'person-revoked', personId: person, orderedAtMs: 1 })
    expect(identity.signal.aborted).toBe(false)
  })

  it('that is revoked while admission waits opens no session', async () => {
    await letIn()
    await register()
    const identity = await identify(shown(key.publicKey))
    const confirmed = await world.control.answer(world.control.asked[0]!)
    const answer = Promise.withResolvers<Confirmation>()
    world.control.answer = () => answer.promise
    const admitted = world.admit({ evidence: { kind: 'identity', identity } })
    admitted.catch(() => undefined)
    await turns()
    const fingerprint = sshFingerprint(key.publicKey)
    await world.feed({ kind: 'ssh-key-removed', fingerprint, orderedAtMs: 1 })
    answer.resolve(confirmed)
    await expect(advanceUntil(world, admitted)).rejects.toMatchObject({ code: 'evidence-invalid' })
    expect(world.registry.size).toBe(0)
  })
})

describe('who fails too often', () => {
  it('is not looked at any more from that address, and their key is, from another', async () => {
    await register()
    const wrong = shown(key.publicKey, createSshKey())
    for (let attempt = 0; attempt < 60; attempt++) {
      world.identification.identify(wrong, address).catch(() => undefined)
    }
    world.clock.advance(250)
    await expect(identify(shown(key.publicKey))).rejects.toMatchObject({ code: 'rate-limited' })
    const good = world.identification.identify(shown(key.publicKey), '198.51.100.2')
    expect(await good).toMatchObject({ personId: person })
    world.clock.advance(60_000)
    await identify(shown(key.publicKey))
  })

  it('keeps nobody else from their key, whoever knows it; one that is only late is not counted', async () => {
    const certificate = await certify({ validForMs: 1_000 })
    await register()
    world.clock.advance(2_000)
    const { identification } = world
    const settle = async (attempts: Promise<unknown>[]): Promise<void> => {
      for (const each of attempts) each.catch(() => undefined)
      world.clock.advance(250)
      await turns()
    }
    await settle(
      Array.from({ length: 400 }, (_, n) =>
        identification.identify(shown(certificate), `10.0.${n >> 7}.1`),
      ),
    )
    const wrong = shown(key.publicKey, createSshKey())
    await settle(
      Array.from({ length: 1_000 }, (_, n) => identification.identify(wrong, `10.1.${n >> 3}.1`)),
    )
    await identify(shown(key.publicKey))
    // From one place it is tried less often than all keys together: others are there too.
    await settle(Array.from({ length: 40 }, () => identification.identify(wrong, address)))
    await expect(identify(shown(key.publicKey))).rejects.toMatchObject({ code: 'rate-limited' })
    await identify(shown(await certify()))
  })
})

describe('a sign-in at the terminal', () => {
  const begun = () => ({
    ...{ signInId: randomUUID(), url: 'https://id.example.test/device', code: 'ABCD-EFGH' },
    ...{ expiresAtMs: world.clock.wallMs() + 600_000, notice: 'signs in dev' },
  })
  const loginId = randomUUID()
  const signedIn = () => ({
    ...{ state: 'signed-in', personId: person, personEmail: 'dev@example.test', loginId },
    ...{ issuedAtMs: world.clock.wallMs(), expiresAtMs: world.clock.wallMs() + 3_600_000 },
  })
  /** Control's answers to the waiting, one after the other. */
  function answers(...states: (() => unknown)[]): void {
    world.control.api = {
      call: ((name: string) =>
        Promise.resolve(
          name === 'proxySshSignIn' ? begun() : states.shift()!(),
        )) as ApiClient['call'],
    }
  }
  const unreachable = () => {
    throw new SallyportError('control-unreachable', 'away')
  }
  const begin = (prompts: SignInPrompt[] = [], signal = new AbortController().signal) =>
    world.identification.signIn(address, (prompt) => prompts.push(prompt), signal)

  it('shows the link, waits also over an outage, and is ended by the end of the login', async () => {
    await letIn()
    answers(() => ({ state: 'pending' }), unreachable, signedIn)
    const prompts: SignInPrompt[] = []
    const identity = await advanceUntil(world, begin(prompts))
    expect(prompts).toMatchObject([{ code: 'ABCD-EFGH', notice: 'signs in dev' }])
    const session = await admitAs(identity)
    expect(world.control.asked.at(-1)).toMatchObject({ loginId })
    const revoked = { orderedAtMs: 3, expiresAtMs: world.clock.wallMs() }
    await world.feed({ kind: 'certificate-revoked', serial: loginId, ...revoked })
    await turns()
    expect(reasonOf(identity.signal)).toBe('certificate-revoked')
    expect(session.signal.reason).toMatchObject({ message: 'you were signed out' })
    expect(world.signIns.pending).toBe(0)
  })

  it('is refused where control refuses, where nobody comes, and for whom was revoked', async () => {
    answers(() => ({ state: 'refused', why: 'not in the directory' }))
    await expect(begin()).rejects.toMatchObject({
      code: 'sign-in-refused',
      clientMessage: 'you are not signed in: not in the directory',
    })
    answers(
      ...Array.from({ length: 2_000 }, () => () => {
        world.clock.advance(1_000)
        return { state: 'pending' }
      }),
    )
    await expect(begin()).rejects.toMatchObject({ code: 'sign-in-refused' })
    answers(() => {
      throw new SallyportError('not-found', 'no such sign-in')
    })
    await expect(begin()).rejects.toMatchObject({ code: 'sign-in-unavailable' })
    await world.feed({
      kind: 'person-revoked',
      personId: person,
      orderedAtMs: world.clock.wallMs(),
    })
    answers(signedIn)
    await expect(begin()).rejects.toMatchObject({ code: 'evidence-invalid' })
    expect(world.signIns.pending).toBe(0)
  })

  it('is asked for seldom where control does not wait', async () => {
    let asked = 0
    const pending = () => {
      asked += 1
      return { state: 'pending' }
    }
    answers(...Array.from({ length: 5_000 }, () => pending))
    const leaving = new AbortController()
    const outcome = Promise.allSettled([begin([], leaving.signal)])
    for (let second = 0; second < 10; second++) {
      await turns(50)
      world.clock.advance(1_000)
    }
    expect(asked).toBeGreaterThan(5)
    expect(asked).toBeLessThan(15)
    leaving.abort(new Error('gone'))
    expect(await outcome).toMatchObject([{ status: 'rejected' }])
  })

  it('ends with the client, and few wait of one address', async () => {
    const held = Promise.withResolvers<unknown>()
    answers(...Array.from({ length: 20 }, () => () => held.promise))
    const leaving = new AbortController()
    const waiting = Array.from({ length: world.limits.signInsPerAddressMax }, () =>
      begin([], leaving.signal),
    )
    const outcomes = Promise.allSettled(waiting)
    await turns()
    expect(world.signIns.pending).toBe(world.limits.signInsPerAddressMax)
    await expect(begin()).rejects.toMatchObject({ code: 'rate-limited' })
    leaving.abort(new Error('gone'))
    expect((await outcomes).map(({ status }) => status)).toEqual(waiting.map(() => 'rejected'))
    expect(world.signIns.pending).toBe(0)
    held.resolve(signedIn())
    await turns()
    expect(world.identities.size).toBe(0)
    answers(signedIn)
    await begin()
  })
})
