import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { createSshKey } from '../../../certs/create-ssh-key.ts'
import { readPrivateFile, writePrivateFile } from '../../../protocols/kit/private-file.ts'
import { standInProgram } from '../../programs.ts'
import type { ChildProgram } from '../../supervisor.ts'

const port = z.int().min(1).max(65_535)
/** What the stand-in's process reads. 0600: its host key is among it. */
const standInSettings = z.strictObject({
  port,
  pagePort: port,
  authorities: z.array(z.string()),
  accounts: z.array(z.string()),
  hostKey: z.string(),
  hostKeyLine: z.string(),
})
export type StandInSettings = z.infer<typeof standInSettings>

const stopMs = 5_000

export function readStandInSettings(directory: string): StandInSettings {
  const bytes = readPrivateFile(settingsFile(directory))
  return standInSettings.parse(JSON.parse(bytes.toString('utf8')))
}

/** Makes what it needs, and says how to run it. Its host key stays that of the first start. */
export async function prepareStandIn(
  demoDirectory: string,
  options: Omit<StandInSettings, 'hostKey' | 'hostKeyLine'>,
): Promise<{ readonly program: ChildProgram; readonly hostKeyLine: string }> {
  const directory = join(demoDirectory, 'stand-in')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const before = existsSync(settingsFile(directory)) ? readStandInSettings(directory) : undefined
  const made = before === undefined ? await createSshKey() : undefined
  const hostKey = before?.hostKey ?? made!.privateKey
  const hostKeyLine = before?.hostKeyLine ?? made!.publicKey
  const settings: StandInSettings = { ...options, hostKey, hostKeyLine }
  writePrivateFile(settingsFile(directory), `${JSON.stringify(settings, null, 2)}\n`)
  return {
    hostKeyLine,
    program: standInProgram({
      dataDirectory: directory,
      logFile: join(demoDirectory, 'logs', 'stand-in.log'),
      flags: [],
      stopMs,
    }),
  }
}

function settingsFile(directory: string): string {
  return join(directory, 'settings.json')
}
