/** `node identity-provider.ts --data-dir DIR --ready FILE`: the demo's identity provider, on the loopback address only. */
import { parseArgs } from 'node:util'
import { writePrivateFile } from '../../protocols/kit/private-file.ts'
import { startDevelopmentProvider } from './development-provider.ts'
import { readIdentitySettings } from './identity-files.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { 'data-dir': text, ready: text } })
if (values['data-dir'] === undefined || values.ready === undefined) {
  console.error('usage: identity-provider.ts --data-dir DIR --ready FILE')
  process.exit(2)
}
const { accounts, ...settings } = readIdentitySettings(values['data-dir'])
const provider = await startDevelopmentProvider({
  ...settings,
  host: '127.0.0.1',
  name: 'localhost',
  accounts: () => accounts,
  demo: true,
})
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
writePrivateFile(values.ready, `${JSON.stringify({ pid: process.pid, issuer: provider.issuer })}\n`)

function stop(): void {
  provider.close().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}
