import type { Relayed } from '../relay.ts'
import { ChannelRecord } from './channel-record.ts'

/** Language and terminal: every client sends them, and no program does something else for them. */
const harmless = /^(?:LANG(?:UAGE)?|LC_\w+|TERM|COLORTERM|TERM_PROGRAM\w*|LS_COLORS)$/
/** Names of what is nobody's to read. */
const credential = /pass|secret|token|key|credential|auth/i

/**
 * Writes down a setting that may change what runs. Where only some commands are allowed it is refused: `BASH_ENV` or `LD_PRELOAD` would make another
 * of them. Elsewhere the server decides whether it takes it.
 */
export function takesEnvironment(
  relayed: Relayed,
  { name, value }: { readonly name: string; readonly value: Buffer },
  channel: number,
): boolean {
  if (harmless.test(name)) return true
  const isTaken = relayed.session.ssh?.allow === undefined
  const isSecret = credential.test(name)
  const text = Buffer.concat([Buffer.from(`${name}=`), isSecret ? Buffer.alloc(0) : value])
  const record = new ChannelRecord(relayed, {
    kind: 'channel',
    ...{ operation: 'env', channel, text, isRedacted: isSecret },
  })
  if (isTaken) record.settle('ok')
  else record.refuse()
  return isTaken
}
