import { awaitTerminalLogin, beginTerminalLogin } from '../../login/terminal-login.ts'
import type { LoginContext } from '../../login/login-context.ts'
import { addSshKey } from '../../ssh/add-ssh-key.ts'
import { issueHostCertificate } from '../../ssh/issue-host-certificate.ts'
import { issueSessionCertificate } from '../../ssh/issue-session-certificate.ts'
import { listSshKeys } from '../../ssh/list-ssh-keys.ts'
import { removeSshKey } from '../../ssh/remove-ssh-key.ts'
import { actorOf } from '../actor-of.ts'
import { serialOf } from '../serial-of.ts'
import { ownScope, type Handlers } from '../handlers.ts'
import { createRateLimit } from '../rate-limit.ts'

type SshRoute =
  | 'sshAuthorities'
  | 'sshKeys'
  | 'sshKeyAdd'
  | 'sshKeyRemove'
  | 'proxySshSession'
  | 'proxySshHost'
  | 'proxySshSignIn'
  | 'proxySshSignInWait'

const windowMs = 60_000
/** Of one proxy: as many sessions as it opens in its best minute. */
const sessionsMax = { perAddressMax: 12_000, overallMax: 60_000 }
/** Of one proxy, which keeps what it got for a day: strangers may ask it for any name. */
const hostsMax = { perAddressMax: 300, overallMax: 3_000 }
/** Of one client's address. */
const begunMax = { perAddressMax: 20, overallMax: 600 }
/** Proxies that wait for somebody at a time. */
const waitingMax = 1_000

/** `stopping`: waits end when it aborts. */
export function sshHandlers(
  context: LoginContext,
  stopping: AbortSignal,
): Pick<Handlers, SshRoute> {
  const { control } = context
  const { clock } = control
  const countSession = createRateLimit({ clock, windowMs, ...sessionsMax })
  const countHost = createRateLimit({ clock, windowMs, ...hostsMax })
  const countBegun = createRateLimit({ clock, windowMs, ...begunMax })
  let waiting = 0
  const { sshAuthorityLines: lines } = control.keys
  return {
    async sshAuthorities() {
      return {
        people: [...lines['ssh-people']],
        hosts: [...lines['ssh-hosts']],
        upstream: [...lines['ssh-upstream']],
      }
    },
    sshKeys: ({ caller }, { query }) => listSshKeys(control, ownScope(caller), query),
    sshKeyAdd: (request, { body }) =>
      addSshKey(control, actorOf(request), serialOf(request.caller), body),
    async sshKeyRemove(request, { params }) {
      const { caller } = request
      const ownerId = caller.roles.includes('admin') ? undefined : caller.id
      await removeSshKey(control, actorOf(request), ownerId, params.id)
      return { done: true }
    },
    async proxySshSession({ caller, remoteAddress }, { body }) {
      countSession(caller.id)
      return issueSessionCertificate(control, caller, remoteAddress, body)
    },
    async proxySshHost({ caller, remoteAddress }, { body }) {
      countHost(caller.id)
      return issueHostCertificate(control, caller, remoteAddress, body)
    },
    async proxySshSignIn({ caller }, { body }) {
      countBegun(body.remoteAddress)
      return beginTerminalLogin(context, caller.id, body.remoteAddress)
    },
    async proxySshSignInWait({ caller }, { body }) {
      const waitMs = waiting < waitingMax ? body.waitMs : 0
      waiting += 1
      try {
        return await awaitTerminalLogin(context, caller.id, { ...body, waitMs }, stopping)
      } finally {
        waiting -= 1
      }
    },
  }
}
