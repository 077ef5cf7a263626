import { isDeepStrictEqual } from 'node:util'
import type { SshHostTrust } from '../../protocols/session.ts'
import type { Binding, BoundSecret } from './bind-secret.ts'
import type { AddressRule } from './policy.ts'

/** Whether a session that was opened under `before` may go on under `after`: nothing was taken away of where its secret may go. */
export function keepsBinding(before: Binding, after: Binding): boolean {
  return (
    keepsAddresses(before, after) &&
    before.upstream.caPem === after.upstream.caPem &&
    isDeepStrictEqual(before.oauth, after.oauth) &&
    keepsTrust(before.upstream.ssh, after.upstream.ssh) &&
    keepsTrust(before.upstream.ssh?.bastion, after.upstream.ssh?.bastion) &&
    (before.bastion === undefined ||
      (after.bastion !== undefined && keepsAddresses(before.bastion, after.bastion)))
  )
}

/** Which of them a name led to is not known here: any that is withdrawn may be the one. */
function keepsAddresses(before: BoundSecret, after: BoundSecret): boolean {
  const has = after.addresses.map(textOf)
  return before.addresses.every((each) => has.includes(textOf(each)))
}

function textOf({ host, port }: AddressRule): string {
  return `${typeof host === 'string' ? host : host.network.rules.join()} ${port}`
}

/** Nor which of a server's keys was seen. */
function keepsTrust(before: SshHostTrust | undefined, after: SshHostTrust | undefined): boolean {
  if (before === undefined || after === undefined) return before === after
  return (
    before.hostKeys.every((key) => after.hostKeys.some((each) => each.equals(key))) &&
    before.hostAuthorities.every((key) => after.hostAuthorities.some((each) => each.equals(key)))
  )
}
