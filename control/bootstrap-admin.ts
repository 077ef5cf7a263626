/**
 * The first admin, and how they are signed in again. Whoever starts control with its data and its sealing key could do anything
 * anyway; but it is on record, and it never makes a second first admin or brings back a revoked one.
 */
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { email as emailShape } from './api/names.ts'
import { createHomeKeys } from './cli/home-keys.ts'
import { homeFiles, type HomeConfig } from './cli/home.ts'
import { writeHome } from './cli/write-home.ts'
import { nowMs, type Actor, type Control } from './control.ts'
import { issueCertificate } from './issue/issue-certificate.ts'
import type { ProxyPlace } from './login/login-context.ts'
import { createPerson } from './people/create-person.ts'

export interface BootstrapOptions {
  readonly email: string
  /** Of people, for a first admin that is made; a sign-in replaces them. */
  readonly groups?: readonly string[]
  /** Directory of the CLI home to write; see cli/home.ts. */
  readonly home: string
  readonly controlUrl: string
  readonly proxy?: ProxyPlace
}

/** Whoever started the process. */
const operator: Actor = { id: '', email: 'operator of control', remoteAddress: '' }
/** A certificate with less than this left is replaced at a start. */
const remainingMsMin = 3_600_000

/** Signs the admin in at `home`: makes them if there are no people yet, renews their home if they still are an admin. */
export async function bootstrapAdmin(control: Control, options: BootstrapOptions): Promise<void> {
  const { realm, state, log } = control
  const email = emailShape.parse(options.email)
  const [counted] = await state.query<{ people: number }>(
    'select count(*) as people from people where realm = $1',
    [realm],
  )
  const [found] = await state.query<{ id: string; admin: boolean; active: boolean }>(
    `select id, 'admin' = any(roles) as admin, state = 'active' as active
     from people where realm = $1 and email = $2`,
    [realm, email],
  )
  const isFirst = counted!.people === 0
  if (!isFirst && (found === undefined || !found.admin || !found.active)) {
    log.warn({ email }, 'not signed in at the start: people exist, and this is no active admin')
    return
  }
  const [group] = await state.query<{ domain: string }>(
    `select domain from proxy_groups where realm = $1 and name = 'default'`,
    [realm],
  )
  const config: HomeConfig = {
    controlUrl: options.controlUrl,
    realm,
    email,
    domain: group!.domain,
    ...(options.proxy === undefined ? {} : { proxyHost: options.proxy.host }),
    proxyPorts: options.proxy?.ports ?? {},
  }
  const files = homeFiles(options.home)
  if (!isFirst && isFresh(control, options.home) && isSameUrl(files.config, config)) return
  const person = isFirst
    ? await createPerson(control, operator, {
        email,
        name: 'First admin',
        roles: ['admin', 'auditor'],
        groups: [...(options.groups ?? [])],
      })
    : found!
  const keys = await createHomeKeys()
  const issued = await issueCertificate(control, operator, person.id, keys.ask)
  writeHome(options.home, config, keys, issued)
  log.info({ email, home: options.home }, 'the admin is signed in')
}

function isFresh(control: Control, home: string): boolean {
  const files = homeFiles(home)
  const needed = [files.certificate, files.key, files.ssh.certificate, files.ssh.key]
  if (!needed.every((file) => existsSync(file))) return false
  try {
    const certificate = new X509Certificate(readFileSync(files.certificate))
    const authority = new X509Certificate(control.keys.authorities.people.certificatePem)
    const leftMs = certificate.validToDate.getTime() - nowMs(control.clock)
    return certificate.verify(authority.publicKey) && leftMs > remainingMsMin
  } catch {
    return false
  }
}

/** Ports may be others than at the last start. */
function isSameUrl(file: string, config: HomeConfig): boolean {
  try {
    return readFileSync(file, 'utf8') === `${JSON.stringify(config, null, 2)}\n`
  } catch {
    return false
  }
}
