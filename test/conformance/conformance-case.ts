/** What an engine brings to the conformance suite. */
import type { Engine, Host } from '../../protocols/engine.ts'
import type { Upstream } from '../../protocols/session.ts'
import type { EngineServer } from '../fakes/engine-server.ts'
import type { FakeGateOptions } from '../fakes/gate.ts'
import type { TestCertificates } from '../fakes/tls.ts'

/** A server of the engine's protocol that logs everybody in and misbehaves on demand. */
export interface FaultyUpstream {
  readonly port: number
  behaviour: string
  /** Logins that came as far as the server. */
  readonly logins: number
  /** Open connections. */
  readonly open: number
  /** What came after the logins, as it was on the wire. */
  readonly received: Buffer
  readonly cancelRequests: number
  readonly flooded: number
  close(): Promise<void>
}

export interface ConformanceClient {
  /** Runs one statement or command; rejects with what the client was told. */
  run(text: string): Promise<unknown>
  /** Everything the client was told that was not an answer, and why it was closed. */
  readonly told: string
  readonly closed: boolean
  /** Stops reading, and goes on writing. */
  stopReading(): void
  cancel(): Promise<void>
  /** As if the network were gone. */
  destroy(): void
}

export interface ConformanceCase {
  readonly engine: Engine
  /** What the gate says of the upstream, beside its address. */
  readonly upstream?: Pick<Upstream, 'ssh'>
  /** Terms of its resources, and the level of its sessions. */
  readonly gate?: Pick<FakeGateOptions, 'http' | 'level'>
  readonly hostKeys?: Host['hostKeys']
  readonly startUpstream: () => Promise<FaultyUpstream>
  /** Behaviours of the upstream that must end a session, or its login, without harm. */
  readonly loginFaults: readonly string[]
  readonly answerFaults: readonly string[]
  /** Rejects with what the client was told. */
  readonly connect: (
    server: EngineServer,
    certificates: TestCertificates,
  ) => Promise<ConformanceClient>
}
