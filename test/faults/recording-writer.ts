/**
 * Records a terminal until it is killed, and says on its standard output how many lines it had recorded at the end of each
 * gathering. Arguments: directory, key (hex), proxy's id, session's id.
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../protocols/kit/clock.ts'
import { openSpool } from '../../proxy/audit/open-spool.ts'
import { createSpoolSession } from '../../proxy/audit/spool-session.ts'
import { createSessionRecordings } from '../../proxy/recordings/session-recordings.ts'
import { sessionOpened } from '../fakes/session-opened.ts'

const [directory, key, proxyId, sessionId] = process.argv.slice(2)
const spool = await openSpool({
  directory: directory!,
  key: Buffer.from(key!, 'hex'),
  proxyId: proxyId!,
  clock: systemClock,
  version: 'test',
  log: { debug() {}, info() {}, warn() {}, error() {} },
})
const session = createSpoolSession(sessionId!, 'written')
spool.appendEvent('session-opened', session.sessionId, {
  ...{ ...sessionOpened, resource: 'web1', protocol: 'ssh' },
})
const recordings = createSessionRecordings({
  ...{ spool, spoolSession: session, clock: systemClock, streamBytesMax: 0 },
  onDrain: () => undefined,
})
const recording = recordings.start('terminal', {
  ...{ activity: 0, title: '/bin/sh', columns: 80, rows: 24, term: 'xterm' },
})
let line = 0
const write = (): void => {
  for (let count = 0; count < 20; count += 1) {
    line += 1
    recording.write('upstream', Buffer.from(`line ${line}\r\n`))
  }
  // What is typed brings everything before it into the audit; this turn's end writes it.
  recording.write('client', Buffer.from('\r'))
  const written = line
  setImmediate(() => setImmediate(() => writeSync(1, `${written}\n`)))
  systemClock.startTimer(5, write)
}
write()
