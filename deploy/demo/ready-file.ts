import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProtocolName } from '../../protocols/activity.ts'
import type { DemoPerson } from './people.ts'

/** What `--ready FILE` writes when everything is up. A public interface: members are added, never changed. */
export interface DemoReady {
  readonly control: { readonly url: string }
  /** Control's URL until there is a console. */
  readonly console: { readonly url: string }
  readonly domain: string
  /** Authorities of the proxy's certificate: sslrootcert. */
  readonly caFile: string
  readonly proxy: {
    readonly host: string
    readonly ports: Readonly<Partial<Record<ProtocolName, number>>>
  }
  /** `home` is a SALLY_HOME that is signed in. `password` is theirs at the identity provider. */
  readonly people: readonly { email: string; password: string; home: string }[]
  readonly resources: readonly {
    name: string
    protocol: ProtocolName
    hostname: string
    levels: readonly string[]
  }[]
  /** The command line that runs the CLI. */
  readonly sally: readonly [node: string, script: string]
}

/** Nobody sees a part of it: it is there whole, or not yet. */
export function writeReadyFile(path: string, ready: DemoReady): void {
  const temporary = `${path}.${process.pid}`
  // It names passwords, although of a demo.
  writeFileSync(temporary, `${JSON.stringify(ready, null, 2)}\n`, { mode: 0o600 })
  renameSync(temporary, path)
}

export function withPasswords(
  people: readonly DemoPerson[],
  accounts: readonly { readonly email: string; readonly password: string }[],
): DemoReady['people'] {
  return people.map((person) => ({
    ...person,
    password: accounts.find(({ email }) => email === person.email)?.password ?? '',
  }))
}

export const sallyCommand: readonly [string, string] = [
  process.execPath,
  join(import.meta.dirname, '..', '..', 'control', 'cli', 'main.ts'),
]
