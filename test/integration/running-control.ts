/** Control in this process over either engine, with people of each role and a proxy. */
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createKeyAndRequest } from '../../certs/request.ts'
import { createApiClient, type ApiClient } from '../../control/api/client.ts'
import type { Role } from '../../control/api/names.ts'
import type { Person, ProxyJoined } from '../../control/api/shapes.ts'
import { openApi } from '../../control/cli/with-api.ts'
import { readHome } from '../../control/cli/home.ts'
import type { Control } from '../../control/control.ts'
import { createLog } from '../../control/create-log.ts'
import { completeLogin } from '../../control/login/complete-login.ts'
import type { IdentityProvider } from '../../control/login/identity-provider.ts'
import type { LoginContext } from '../../control/login/login-context.ts'
import {
  startControl,
  type ControlOptions,
  type RunningControl,
} from '../../control/start-control.ts'
import { systemClock, type Clock } from '../../protocols/kit/clock.ts'
import { seedStores } from '../seed-stores.ts'

export interface TestCaller {
  readonly certificatePem?: string
  readonly privateKeyPem?: string
}
export interface TestPerson extends Required<TestCaller> {
  readonly person: Person
  readonly serial: string
  readonly api: ApiClient
}
export interface TestProxy extends Required<TestCaller> {
  readonly joined: ProxyJoined
  readonly api: ApiClient
}
export interface RunningSite {
  readonly running: RunningControl
  readonly admin: ApiClient
  readonly options: ControlOptions
  /** Moves control's clock, and nothing else. */
  readonly clock: ShiftedClock
  /** With a certificate that the admin issued. */
  addPerson(email: string, roles: Role[], groups?: string[]): Promise<TestPerson>
  /** With a certificate of a sign-in, as it comes about once the identity provider has said who is there. */
  addSignedIn(email: string, roles: Role[], groups?: string[]): Promise<TestPerson>
  addProxy(group?: string): Promise<TestProxy>
  /** The API as this caller; closed with the site. */
  open(caller: Required<TestCaller>): ApiClient
  /** Asks as somebody, and returns what came. */
  ask(
    caller: TestCaller,
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<RawAnswer>
  close(): Promise<void>
}
export interface RawAnswer {
  readonly status: number
  readonly contentType: string
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: Record<string, unknown>
}

/** The system's clock, with a wall that can be moved. */
export interface ShiftedClock extends Clock {
  shiftMs: number
  /** Of the monotonic side: what counts calls by the minute sees so much time pass. Timers run as they did. */
  passedMs: number
}
export function createShiftedClock(): ShiftedClock {
  const clock: ShiftedClock = {
    shiftMs: 0,
    passedMs: 0,
    wallMs: () => systemClock.wallMs() + clock.shiftMs,
    monotonicMs: () => systemClock.monotonicMs() + clock.passedMs,
    startTimer: (delayMs, run) => systemClock.startTimer(delayMs, run),
  }
  return clock
}

export async function startTestControl(
  more: Partial<ControlOptions> & { databaseUrl?: string } = {},
): Promise<RunningSite> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-control-test-'))
  const clock = createShiftedClock()
  const options: ControlOptions = {
    dataDir: join(directory, 'control'),
    host: '127.0.0.1',
    port: 0,
    domain: 'access.example.test',
    demo: false,
    operations: { host: '127.0.0.1', port: 0 },
    admin: { email: 'admin@example.test', home: join(directory, 'admin') },
    log: createLog('silent'),
    clock,
    validateAnswers: true,
    ...more,
  }
  if (more.databaseUrl === undefined && more.dataDir === undefined) {
    await seedStores(join(options.dataDir, 'store'))
  }
  const running = await startControl(options)
  const admin = openApi(readHome({ SALLY_HOME: join(directory, 'admin') }))
  const authorityPem = running.control.keys.authorities.control.certificatePem
  const opened: ApiClient[] = [admin]
  const open = (caller: Required<TestCaller>): ApiClient => {
    const api = createApiClient({ baseUrl: running.url, authorityPem, ...caller })
    opened.push(api)
    return api
  }
  // A handshake costs more than most answers.
  const agents = new Map<string, Agent>()
  const agentOf = ({ certificatePem: cert, privateKeyPem: key }: TestCaller): Agent => {
    const name = `${cert} ${key}`
    const known = agents.get(name)
    if (known !== undefined) return known
    const agent = new Agent({ keepAlive: true, ca: authorityPem, cert, key })
    agents.set(name, agent)
    return agent
  }
  return {
    running,
    admin,
    options,
    clock,
    open,
    async addPerson(email, roles, groups = []) {
      const person = await admin.call('personCreate', { body: { email, roles, groups } })
      return signIn(admin, person, open)
    },
    async addSignedIn(email, roles, groups = []) {
      const person = await admin.call('personCreate', { body: { email, roles, groups } })
      const { privateKeyPem, requestPem } = await createKeyAndRequest()
      const { certificate } = await completeLogin(providerSaying(running.control), {
        ...{ attemptId: undefined, remoteAddress: '127.0.0.1', flow: 'device' },
        attempt: { requestPem, sshPublicKey: null },
        refreshToken: undefined,
        identity: {
          ...{ issuer, subject: email, email, emailVerified: true, name: '', groups },
          ...{ authTimeMs: null, acr: null, amr: [] },
        },
      })
      const caller = { certificatePem: certificate.certificatePem, privateKeyPem }
      return { person, serial: certificate.serial, ...caller, api: open(caller) }
    },
    async addProxy(group = 'default') {
      const { token } = await admin.call('joinToken', { params: { name: group } })
      const [client, server] = await Promise.all([createKeyAndRequest(), createKeyAndRequest()])
      const anyone = createApiClient({ baseUrl: running.url, authorityPem })
      opened.push(anyone)
      const joined = await anyone.call('proxyJoin', {
        body: {
          token,
          name: 'edge',
          clientRequestPem: client.requestPem,
          serverRequestPem: server.requestPem,
        },
      })
      const caller = {
        certificatePem: joined.clientCertificatePem,
        privateKeyPem: client.privateKeyPem,
      }
      return { joined, ...caller, api: open(caller) }
    },
    ask: (caller, method, path, body, headers) =>
      ask({ baseUrl: running.url, agent: agentOf(caller), method, path, body, headers }),
    async close() {
      for (const api of opened) api.close()
      for (const agent of agents.values()) agent.destroy()
      await running.close(1_000)
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

const issuer = 'https://provider.example.test'

/** Of a provider that is asked for nothing any more. */
function providerSaying(control: Control): LoginContext {
  const settings = { issuer, adminGroups: [], auditorGroups: [], linkByEmail: true }
  const provider = { settings } as unknown as IdentityProvider
  return { control, provider, proxy: undefined }
}

export async function signIn(
  admin: ApiClient,
  person: Person,
  open: (caller: Required<TestCaller>) => ApiClient,
): Promise<TestPerson> {
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const { certificatePem, serial } = await admin.call('certificateIssue', {
    params: { id: person.id },
    body: { requestPem },
  })
  const caller = { certificatePem, privateKeyPem }
  return { person, serial, ...caller, api: open(caller) }
}

interface Question {
  readonly baseUrl: string
  readonly agent: Agent
  readonly method: string
  readonly path: string
  readonly body: unknown
  readonly headers: Record<string, string> | undefined
}

function ask(question: Question): Promise<RawAnswer> {
  const { baseUrl, agent, method, path, body, headers } = question
  const isRaw = Buffer.isBuffer(body) || typeof body === 'string'
  const bytes = body === undefined ? undefined : isRaw ? body : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const outgoing = request(
      new URL(path, baseUrl),
      {
        ...{ method, agent },
        headers: {
          ...(bytes === undefined
            ? {}
            : {
                'content-type': 'application/json',
                // Node says no length of a DELETE by itself, and what follows would be read as another request.
                'content-length': Buffer.byteLength(bytes),
              }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({
            status: response.statusCode ?? 0,
            contentType: String(response.headers['content-type']),
            headers: response.headers,
            body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>,
          })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(bytes)
  })
}

/** A resources file of one resource. */
export function resourceNamed(name: string, more: Record<string, unknown> = {}) {
  return {
    name,
    protocol: 'postgres' as const,
    address: { host: '127.0.0.1', port: 5432 },
    levels: {
      read: { account: 'reader', secret: `sealed:${name}/read` },
      write: { account: 'writer', secret: `sealed:${name}/write` },
    },
    ...more,
  }
}
