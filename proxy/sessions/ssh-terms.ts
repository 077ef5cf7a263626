import type { Resource } from '../../control/api/resource.ts'
import type { Level, SshTerms } from '../../protocols/session.ts'

/** What an SSH resource allows at a level; undefined for a resource of another protocol. */
export function sshTermsOf(resource: Resource, level: Level): SshTerms | undefined {
  const { ssh } = resource
  if (ssh === undefined) return undefined
  const { allow, deny = [] } = ssh.commands[level] ?? {}
  return {
    agentForwarding: ssh.agentForwarding.includes(level),
    tunnels: ssh.tunnels
      .filter((tunnel) => tunnel.levels.includes(level))
      .map(({ direction, host, port, carries }) => ({ direction, host, port, carries })),
    ...(allow === undefined ? {} : { allow }),
    deny,
    recordInput: ssh.recording.input,
    streamBytesMax: ssh.recording.streamBytesMax,
  }
}
