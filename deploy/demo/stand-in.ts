/** `node stand-in.ts --data-dir DIR --ready FILE`: what stands in for the demo's web1 where no sshd is installed. */
import { parseArgs } from 'node:util'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { writePrivateFile } from '../../protocols/kit/private-file.ts'
import { startStandIn } from './stand-in/server.ts'
import { readStandInSettings } from './stand-in/settings.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { 'data-dir': text, ready: text } })
if (values['data-dir'] === undefined || values.ready === undefined) {
  console.error('usage: stand-in.ts --data-dir DIR --ready FILE')
  process.exit(2)
}
const standIn = await startStandIn({
  ...readStandInSettings(values['data-dir']),
  clock,
  say: (line) => console.log(`${new Date(clock.wallMs()).toISOString()} ${line}`),
})
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
writePrivateFile(values.ready, `${JSON.stringify({ pid: process.pid, port: standIn.port })}\n`)

function stop(): void {
  standIn.close().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}
