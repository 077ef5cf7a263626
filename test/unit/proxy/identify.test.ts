import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Evidence } from '../../../protocols/engine.ts'
import { createControlView, type ControlView } from '../../../proxy/grants/control-view.ts'
import { createIdentify } from '../../../proxy/identity/identify.ts'
import { silentLog } from '../../fakes/proxy-world.ts'
import { createWorld, derOf, hourMs, newAuthority } from '../certs/world.ts'

let world: Awaited<ReturnType<typeof createWorld>>
let certificate: Buffer
let serial: string
let authorities: string[]
let view: ControlView
beforeAll(async () => {
  world = await createWorld()
  const issued = await world.person()
  certificate = derOf(issued.certificatePem)
  serial = issued.serial
})
beforeEach(() => {
  authorities = [world.people.certificatePem]
  view = createControlView(silentLog)
})

const identifyWith = (changes: { realm?: string; demo?: boolean } = {}) => {
  const identify = createIdentify({
    factsOf() {
      throw new Error('no identities here')
    },
    realm: 'default',
    demo: false,
    authoritiesPem: () => authorities,
    view,
    clock: world.clock,
    ...changes,
  })
  return (evidence: Evidence) => identify(evidence, '203.0.113.7')
}
const shown = () => ({ kind: 'client-certificate' as const, certificate })
const failing = (code: string) => expect.objectContaining({ code })

describe('who arrives', () => {
  it('is the person of the certificate', () => {
    expect(identifyWith()(shown())).toMatchObject({
      personId: world.personId,
      email: 'dev@example.test',
      serial,
    })
  })

  it.each([
    [{ kind: 'none' as const }, 'evidence-missing'],
    [{ kind: 'token' as const, token: 'x' }, 'evidence-invalid'],
    [{ kind: 'client-certificate' as const, certificate: Buffer.from('x') }, 'evidence-invalid'],
  ])('is nobody with %j', (evidence, code) => {
    expect(() => identifyWith()(evidence)).toThrow(failing(code))
  })

  it('is nobody of another realm, another authority, or of a demo', async () => {
    expect(() => identifyWith({ realm: 'other' })(shown())).toThrow(failing('evidence-invalid'))
    expect(() => identifyWith({ demo: true })(shown())).toThrow(failing('demo-in-production'))
    authorities = [(await newAuthority('people', world.clock)).certificatePem]
    expect(() => identifyWith()(shown())).toThrow(failing('evidence-invalid'))
    authorities = [world.people.certificatePem]
    const proxy = derOf((await world.proxy()).certificatePem)
    expect(() => identifyWith()({ kind: 'client-certificate', certificate: proxy })).toThrow(
      failing('evidence-invalid'),
    )
  })

  it('is looked at again each time: revoked, expired, authority withdrawn', async () => {
    const identify = identifyWith()
    identify(shown())
    await view.apply(1, [
      { kind: 'certificate-revoked', serial, orderedAtMs: 1, expiresAtMs: world.clock.wallMs() },
    ])
    expect(() => identify(shown())).toThrow(failing('evidence-invalid'))
    await view.replace(2, [])
    identify(shown())
    await view.apply(3, [
      { kind: 'person-revoked', personId: world.personId, orderedAtMs: world.clock.wallMs() },
    ])
    expect(() => identify(shown())).toThrow(/person-revoked/)
    view = createControlView(silentLog)
    const again = identifyWith()
    again(shown())
    authorities = []
    expect(() => again(shown())).toThrow(failing('evidence-invalid'))
    authorities = [world.people.certificatePem]
    again(shown())
    world.clock.advance(hourMs)
    expect(() => again(shown())).toThrow(failing('evidence-expired'))
  })
})
