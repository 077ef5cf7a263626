import { newOutcome, reportChannel } from '../observe/sources.ts'
import type { Relayed } from '../relay.ts'

/** Language and terminal: every client sends them, and no program does something else for them. */
const harmless = /^(?:LANG(?:UAGE)?|LC_\w+|TERM|COLORTERM|TERM_PROGRAM\w*|LS_COLORS)$/
/** Names of what is nobody's to read. */
const credential = /pass|secret|token|key|credential|auth/i

/** Writes down a setting that may change what runs. The server decides whether it takes it. */
export function reportEnvironment(
  { session, host }: Relayed,
  { name, value }: { readonly name: string; readonly value: Buffer },
  channel: number,
): void {
  if (harmless.test(name)) return
  const isSecret = credential.test(name)
  const text = Buffer.concat([Buffer.from(`${name}=`), isSecret ? Buffer.alloc(0) : value])
  const id = reportChannel(
    session,
    { kind: 'channel', operation: 'env', channel, text, isRedacted: isSecret },
    host.limits.inlineTextBytesMax,
  )
  session.settle(id, newOutcome())
}
