import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ApiClient } from '../../control/api/client.ts'
import { readFlowsFile } from '../../control/cli/read-flows-file.ts'

const file = join(import.meta.dirname, 'flows.yaml')

/** Who may ask for what in the demo; flows that somebody applied since then stay. */
export async function applyFlows(api: ApiClient): Promise<void> {
  const { version } = await api.call('flows')
  if (version > 0) return
  const { flows } = readFlowsFile(readFileSync(file, 'utf8'), file)
  await api.call('flowsApply', { body: { flows, expectedVersion: version } })
}
