/** A spool in a temporary directory, and what it is fed with, for tests. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { ActivitySource } from '../../protocols/activity.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { systemFiles, type SpoolFiles } from '../../proxy/audit/spool-files.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import type {
  Durability,
  Spool,
  SpoolLimits,
  SpoolOptions,
  SpoolSession,
} from '../../proxy/audit/spool-types.ts'
import { sessionOpened } from '../fakes/session-opened.ts'

export const silentLog = { debug() {}, info() {}, warn() {}, error() {} }
export const spoolKey = Buffer.alloc(32, 7)
export const sessionId = 'cccccccc-cccc-4ccc-8ccc-cccccccccccc'

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-spool-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function openTestSpool(
  directory: string,
  limits: Partial<SpoolLimits> = {},
  files: Partial<SpoolFiles> = {},
  options: Partial<SpoolOptions> = {},
): Promise<Spool> {
  return openSpool(
    {
      directory,
      key: spoolKey,
      proxyId: '11111111-1111-4111-8111-111111111111',
      clock: systemClock,
      limits,
      version: 'test',
      log: silentLog,
      ...options,
    },
    { ...systemFiles, ...files },
  )
}

const sessions = new WeakMap<Spool, Map<string, SpoolSession>>()

/** The session of this id in the spool; opened in the batch of this turn if it is not yet. */
export function sessionIn(
  spool: Spool,
  durability: Durability = 'written',
  id: string = sessionId,
): SpoolSession {
  const known = sessions.get(spool) ?? new Map<string, SpoolSession>()
  sessions.set(spool, known)
  let session = known.get(id)
  if (session === undefined) {
    session = createSpoolSession(id, durability)
    spool.appendEvent('session-opened', id, sessionOpened)
    known.set(id, session)
  }
  return session
}

export function statement(text: string): ActivitySource {
  return { kind: 'statement', encode: (fields) => fields.utf8('text', text) }
}

/** Ends of turns: what was appended is written, and what waited for it is forwarded. */
export async function turns(count = 2): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

export function filesOf(directory: string, suffix: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(suffix))
    .toSorted()
    .map((name) => join(directory, name))
}
