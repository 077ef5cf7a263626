/** A proxy's own audit, shipping to a control's: sessions that record as an engine would, without an engine. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { AuditContext } from '../../control/audit/dependencies.ts'
import { storeSegments } from '../../control/audit/store-segments.ts'
import { systemClock, type Clock } from '../../protocols/kit/clock.ts'
import type { ActivityId } from '../../protocols/session.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { createShipper } from '../../proxy/audit/shipper.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import type { Spool } from '../../proxy/audit/spool-types.ts'
import {
  createSessionRecordings,
  type SessionRecordings,
} from '../../proxy/recordings/session-recordings.ts'
import { sessionOpened } from '../fakes/session-opened.ts'
import { createSigner } from '../unit/audit-bundle.ts'
import { silentLog } from '../unit/spool-fixture.ts'

export interface RecordingProxy {
  readonly proxyId: string
  readonly spool: Spool
  open(): RecordingSession
  /** All that was written is stored by control. */
  ship(): Promise<void>
  close(): Promise<void>
}
export interface RecordingSession {
  readonly id: string
  readonly recordings: SessionRecordings
  command(text: string): ActivityId
  close(): void
}

/** `clock` is the sessions'; the spool and its shipping have the system's. */
export async function openRecordingProxy(
  context: AuditContext,
  clock: Clock,
  directory = temporaryDirectory(),
  proxyId: string = randomUUID(),
  signer = createSigner('ES256'),
): Promise<RecordingProxy> {
  const spool = await openSpool({
    ...{ directory, proxyId, clock: systemClock, version: 'test', log: silentLog },
    key: Buffer.alloc(32, 3),
  })
  const { publicKey, kid } = signer
  const shipper = createShipper({
    outbox: spool.outbox,
    store: {
      storeSegments: (body, checkpoint) =>
        storeSegments(context, { proxy: { proxyId, publicKey, kid }, body, checkpoint }),
      storeBlob: () => Promise.reject(new Error('there are no blobs here')),
      quarantine: (_bytes, why) => Promise.reject(new Error(why)),
    },
    ...{ signer, realm: 'default', proxyId, clock: systemClock, log: silentLog },
  })
  return {
    proxyId,
    spool,
    open() {
      const id = randomUUID()
      const spoolSession = createSpoolSession(id, 'written')
      const meta = { ...sessionOpened, resource: 'web1', protocol: 'ssh' }
      spool.appendEvent('session-opened', id, meta)
      const recordings = createSessionRecordings({
        ...{ spool, spoolSession, clock, streamBytesMax: 4_096, onDrain: () => undefined },
      })
      return {
        id,
        recordings,
        command: (text) =>
          spool.appendActivity(spoolSession, {
            kind: 'command',
            encode: (fields) => fields.utf8('text', text),
          }),
        close() {
          recordings.endAll()
          const ended = { reason: 'client-closed', statements: 1, bytesUp: 0, bytesDown: 0 }
          spool.appendEvent('session-closed', id, ended)
        },
      }
    },
    async ship() {
      await spool.commitNow('written')
      if (!(await shipper.flush(systemClock.monotonicMs() + 30_000))) throw new Error('not shipped')
    },
    async close() {
      await shipper.close()
      await spool.close('test')
    },
  }
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-recordings-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
