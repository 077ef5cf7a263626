import { randomUUID, X509Certificate } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { createAuthority, type Authority } from '../../../certs/authority.ts'
import { issuePersonCertificate } from '../../../certs/issue-person.ts'
import { signCertificate } from '../../../certs/sign-certificate.ts'
import { openRequest } from '../../../certs/request.ts'
import { verifyClientCertificate, type ClientKind } from '../../../certs/verify.ts'
import { createWorld, derOf, hourMs, newAuthority, realm } from './world.ts'

let world: Awaited<ReturnType<typeof createWorld>>
beforeAll(async () => {
  world = await createWorld()
})

function verify(
  der: Buffer,
  more: { kind?: ClientKind; authorities?: readonly Authority[]; atMs?: number } = {},
) {
  const kind = more.kind ?? 'person'
  const authorities = more.authorities ?? [kind === 'person' ? world.people : world.proxies]
  return verifyClientCertificate(der, {
    authoritiesPem: authorities.map((authority) => authority.certificatePem),
    kind,
    atMs: more.atMs ?? world.clock.wallMs(),
  })
}

const invalid = expect.objectContaining({ code: 'evidence-invalid' })
const expired = expect.objectContaining({ code: 'evidence-expired' })

describe('what passes', () => {
  test("a person's certificate names the person", async () => {
    const issued = await world.person()
    expect(verify(derOf(issued.certificatePem))).toMatchObject({
      realm,
      id: world.personId,
      email: 'dev@example.test',
      serial: issued.serial,
      issuedAtMs: issued.notBeforeMs,
      expiresAtMs: issued.expiresAtMs,
      demo: false,
    })
    expect(issued.expiresAtMs).toBe(world.clock.wallMs() + hourMs)
    expect(issued.notBeforeMs).toBe(world.clock.wallMs() - 60_000)
    expect(issued.serial).toMatch(/^[1-9a-f][0-9a-f]{29,31}$/)
  })

  test("a proxy's certificate names the proxy and carries no e-mail", async () => {
    const verified = verify(derOf((await world.proxy()).certificatePem), { kind: 'proxy' })
    expect(verified).toMatchObject({ id: world.proxyId, realm })
    expect(verified).not.toHaveProperty('email')
  })

  test('during a rotation either authority will do, in any order', async () => {
    const next = await newAuthority('people', world.clock)
    const der = derOf((await world.person(next)).certificatePem)
    expect(verify(der, { authorities: [world.people, next] }).id).toBe(world.personId)
    expect(verify(der, { authorities: [next, world.people] }).id).toBe(world.personId)
  })

  test('the mark of a demo is seen, from the authority or the certificate', async () => {
    const demo = await newAuthority('people', world.clock, { demo: true })
    const fromDemo = derOf((await world.person(demo)).certificatePem)
    expect(verify(fromDemo, { authorities: [demo] }).demo).toBe(true)
    const { requestPem, clock, personId, people } = world
    const marked = await issuePersonCertificate(people, {
      ...{ requestPem, clock, personId, realm, email: 'a@b.test', validForMs: 1000, demo: true },
    })
    expect(verify(derOf(marked.certificatePem)).demo).toBe(true)
  })
})

describe('what does not pass', () => {
  test('a certificate of another kind, under either authority', async () => {
    const proxy = derOf((await world.proxy()).certificatePem)
    const person = derOf((await world.person()).certificatePem)
    const both = [world.people, world.proxies]
    expect(() => verify(proxy)).toThrow(invalid)
    expect(() => verify(person, { kind: 'proxy' })).toThrow(invalid)
    expect(() => verify(proxy, { authorities: both })).toThrow(invalid)
    expect(() => verify(person, { kind: 'proxy', authorities: both })).toThrow(invalid)
  })

  test('an authority of another purpose, even if it signed an identity of the right kind', async () => {
    const { requestPem, clock, personId } = world
    for (const signer of [world.proxies, world.control]) {
      const forged = await signCertificate(signer, {
        subject: [['CN', 'dev@example.test']],
        names: [{ type: 'url', value: `sallyport://${realm}/person/${personId}` }],
        usage: 'client',
        publicKey: await openRequest(requestPem),
        clock,
        validForMs: hourMs,
        validForMsMax: hourMs,
      })
      const der = derOf(forged.certificatePem)
      expect(() => verify(der, { authorities: [world.people, signer] })).toThrow(invalid)
    }
  })

  test('a server certificate, with or without the identity of a proxy', async () => {
    const uri = `sallyport://${realm}/proxy/${world.proxyId}`
    for (const issued of [await world.server(), await world.server(world.proxies, uri)]) {
      const der = derOf(issued.certificatePem)
      expect(() => verify(der, { kind: 'proxy' })).toThrow(invalid)
      expect(() => verify(der, { authorities: [world.people, world.proxies] })).toThrow(invalid)
    }
  })

  const wrongNames: [string, { type: 'url' | 'dns' | 'email'; value: string }[]][] = [
    ['two identities', [url('person', randomUUID()), url('person', randomUUID())]],
    ['an identity and a host', [url('person', randomUUID()), { type: 'dns', value: 'a.test' }]],
    ['an e-mail address only', [{ type: 'email', value: 'dev@example.test' }]],
    ['another kind', [url('proxy', randomUUID())]],
    ['control', [url('control', 'main')]],
    ['no UUID', [url('person', 'root')]],
    ['an upper-case UUID', [url('person', randomUUID().toUpperCase())]],
    ['another realm', [{ type: 'url', value: `sallyport://other/person/${randomUUID()}` }]],
    ['a URI that goes on', [url('person', `${randomUUID()}/x`)]],
    ['a comma inside', [url('person', `${randomUUID()}, URI:sallyport://default/person/x`)]],
  ]
  test.each(wrongNames)('%s, though the right authority signed it', async (_, names) => {
    const forged = await signCertificate(world.people, {
      subject: [['CN', 'dev@example.test']],
      names,
      usage: 'client',
      publicKey: await openRequest(world.requestPem),
      clock: world.clock,
      validForMs: hourMs,
      validForMsMax: hourMs,
    })
    expect(() => verify(derOf(forged.certificatePem))).toThrow(invalid)
  })

  test('an authority itself', () => {
    expect(() => verify(derOf(world.people.certificatePem))).toThrow(invalid)
    expect(() => verify(derOf(world.proxies.certificatePem), { kind: 'proxy' })).toThrow(invalid)
  })

  test('one signed by its own key, and one of another authority with the same name', async () => {
    const stranger = await newAuthority('people', world.clock)
    expect(() => verify(derOf(stranger.certificatePem))).toThrow(invalid)
    const namesake = await createAuthority({
      ...{ purpose: 'people', realm, clock: world.clock },
      signer: { ...stranger.signer, kid: world.people.signer.kid },
    })
    const [ours, theirs] = [world.people, namesake].map(
      (a) => new X509Certificate(a.certificatePem),
    )
    expect(theirs!.subject).toBe(ours!.subject)
    const der = derOf((await world.person(namesake)).certificatePem)
    expect(new X509Certificate(der).issuer).toBe(ours!.subject)
    expect(() => verify(der)).toThrow(invalid)
    const selfSigned = await signCertificate(
      { signer: stranger.signer, certificatePem: undefined },
      {
        subject: [['CN', 'dev@example.test']],
        names: [url('person', world.personId)],
        usage: 'client',
        publicKey: stranger.signer.publicKey,
        clock: world.clock,
        validForMs: hourMs,
        validForMsMax: hourMs,
      },
    )
    expect(() => verify(derOf(selfSigned.certificatePem))).toThrow(invalid)
  })

  test('a certificate whose authority is not among the known, or none is known', async () => {
    const der = derOf((await world.person()).certificatePem)
    expect(() => verify(der, { authorities: [] })).toThrow(invalid)
    expect(() => verify(der, { authorities: [world.proxies, world.control] })).toThrow(invalid)
  })

  test('one that a changed byte touches, wherever it is', async () => {
    const der = derOf((await world.person()).certificatePem)
    for (let at = 0; at < der.length; at++) {
      const tampered = Buffer.from(der)
      tampered[at]! ^= 0x01
      expect(() => verify(tampered), `byte ${at}`).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^evidence-(invalid|expired)$/) }),
      )
    }
  })

  test('bytes after it, half of it, nothing, noise and too much', async () => {
    const der = derOf((await world.person()).certificatePem)
    const pem = Buffer.from((await world.person()).certificatePem)
    const wrong = [
      Buffer.concat([der, Buffer.from([0])]),
      Buffer.concat([der, der]),
      der.subarray(0, der.length / 2),
      Buffer.alloc(0),
      Buffer.alloc(300, 0x30),
      Buffer.alloc(100_000),
      pem,
    ]
    for (const bytes of wrong) expect(() => verify(bytes)).toThrow(invalid)
  })

  test('before its first moment and from its last on', async () => {
    const { certificatePem, notBeforeMs, expiresAtMs } = await world.person()
    const der = derOf(certificatePem)
    expect(() => verify(der, { atMs: notBeforeMs - 1 })).toThrow(expired)
    expect(verify(der, { atMs: notBeforeMs }).id).toBe(world.personId)
    expect(verify(der, { atMs: expiresAtMs - 1 }).id).toBe(world.personId)
    expect(() => verify(der, { atMs: expiresAtMs })).toThrow(expired)
  })

  test('under an authority that has expired, and none outlives its authority', async () => {
    const short = await newAuthority('people', world.clock, { validForMs: hourMs / 2 })
    const issued = await world.person(short)
    expect(issued.expiresAtMs).toBe(world.clock.wallMs() + hourMs / 2)
    expect(() =>
      verify(derOf(issued.certificatePem), { authorities: [short], atMs: issued.expiresAtMs }),
    ).toThrow(expired)
  })
})

function url(kind: string, id: string) {
  return { type: 'url' as const, value: `sallyport://${realm}/${kind}/${id}` }
}
