import { parseSshPublicKeyLine } from '../../protocols/kit/ssh-public-key.ts'
import type { SshHostTrust } from '../../protocols/session.ts'

/** As a resource names servers: lines of public key files. */
export interface NamedHosts {
  readonly hostKeys: readonly string[]
  readonly hostAuthorities: readonly string[]
}

export interface BoundHosts {
  readonly hosts: SshHostTrust
  /** Why no server counts. */
  readonly objection: string | undefined
}

/**
 * Servers of SSH that the resource accepts and, where it names any, the policy's rule as well. A rule for a password or a key has to name
 * some: a resource is control's word, and a password is gone once the wrong server has it. A certificate is of no use to who gets it.
 */
export function bindHosts(
  named: NamedHosts,
  rule: SshHostTrust | undefined,
  reference: string,
): BoundHosts {
  if (rule === undefined && !reference.startsWith('certificate:')) {
    const objection = 'for SSH it has to name hostKeys or hostAuthorities'
    return { hosts: { hostKeys: [], hostAuthorities: [] }, objection }
  }
  const hosts: SshHostTrust = {
    hostKeys: accepted(named.hostKeys, rule?.hostKeys),
    hostAuthorities: accepted(named.hostAuthorities, rule?.hostAuthorities),
  }
  const isNone = hosts.hostKeys.length + hosts.hostAuthorities.length === 0
  return { hosts, objection: isNone ? 'not for any host key of the resource' : undefined }
}

function accepted(lines: readonly string[], ruled: readonly Buffer[] | undefined): Buffer[] {
  const blobs = lines.flatMap((line) => readKey(line))
  return ruled === undefined ? blobs : blobs.filter((blob) => ruled.some((key) => key.equals(blob)))
}

/** A key that this proxy cannot read is one that no server can prove. */
function readKey(line: string): Buffer[] {
  try {
    return [parseSshPublicKeyLine(line).blob]
  } catch {
    return []
  }
}
