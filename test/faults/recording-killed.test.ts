/** A proxy that is killed in the middle of a recording: what it had written is sealed, played to its end, and verifies. */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { decodeFrames } from '../../control/api/audit/recording.ts'
import { verifySegments } from '../../control/api/audit/verify-chain.ts'
import { readAuditKeys } from '../../control/audit/audit-keys.ts'
import { readRecording } from '../../control/audit/read-recording.ts'
import { listRecordings } from '../../control/audit/recordings.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { auditFixture } from '../integration/audit-fixture.ts'
import { openRecordingProxy, temporaryDirectory } from '../integration/recording-proxy.ts'
import { createSigner } from '../unit/audit-bundle.ts'

describe('a recording whose proxy was killed', () => {
  const audit = auditFixture('embedded')

  test('ends with the proxy, whole up to then', async () => {
    const directory = temporaryDirectory()
    const proxyId = randomUUID()
    const session = randomUUID()
    const signer = createSigner('ES256')
    const acknowledged = await killedWriter(directory, proxyId, session)
    expect(acknowledged).toBeGreaterThan(0)

    const proxy = await openRecordingProxy(audit.context, systemClock, directory, proxyId, signer)
    await proxy.ship()
    await audit.indexer.idle()
    const [recording] = await listRecordings(audit.context, session, true)
    expect(recording).toMatchObject({ state: 'ended-with-proxy', title: '/bin/sh', lostBytes: 0 })
    let text = ''
    const signal = new AbortController().signal
    for (let place = { reading: 0, part: 0, hidden: false }; ;) {
      const options = { bytesMax: 64 * 1024, waitMs: 0, signal }
      const page = await readRecording(audit.context, session, 1, place, options)
      for (const part of page.parts) {
        for (const { kind, bytes } of decodeFrames(Buffer.from(part.frames!, 'base64'))) {
          if (kind === 'upstream') text += bytes.toString()
        }
      }
      place = page.place
      if (page.ended) break
    }
    const lines = text.trimEnd().split('\r\n')
    expect(lines).toEqual(lines.map((_, index) => `line ${index + 1}`))
    expect(lines.length).toBeGreaterThanOrEqual(acknowledged)
    const segments = await audit.allSegments(proxyId, 'with')
    expect((await verifySegments(segments, await readAuditKeys(audit.context))).damage).toEqual([])
    await proxy.close()
  })
})

/** How many lines it said were in the audit when it was killed. */
async function killedWriter(directory: string, proxyId: string, session: string): Promise<number> {
  const path = new URL('recording-writer.ts', import.meta.url).pathname
  const key = Buffer.alloc(32, 3).toString('hex')
  const child = spawn(process.execPath, [path, directory, key, proxyId, session], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (output.split('\n').length > 20) child.kill('SIGKILL')
  })
  const signal = await new Promise((resolve) => child.on('close', (_code, name) => resolve(name)))
  expect(signal).toBe('SIGKILL')
  return Number(output.split('\n').at(-2))
}
