import type { Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { Login } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { signInHint } from '../sign-in-hint.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { readSshCertificate, type SshCertificateFile } from '../ssh/certificate-file.ts'
import { withApi } from '../with-api.ts'

/** A certificate that ends sooner than this is worth a warning. */
const soonMs = 3_600_000

/** `sally whoami` */
export function declareWhoami(command: Command, cli: Cli): void {
  command.action(async () => {
    const { answer, controlUrl, ssh } = await withApi(cli, async ({ api, home }) => ({
      answer: await api.call('whoami'),
      controlUrl: home.config.controlUrl,
      ssh: readSshCertificate(home.files),
    }))
    const { person, certificate, login } = answer
    // A home has one, so control was shown one.
    const endsAtMs = certificate?.expiresAtMs ?? answer.controlTimeMs
    const leftMs = endsAtMs - answer.controlTimeMs
    const sshShown = ssh === undefined ? null : { serial: ssh.serial, expiresAtMs: ssh.expiresAtMs }
    cli.answer({ ...answer, ssh: sshShown }, () => {
      const ends = `${relativeTime(endsAtMs, answer.controlTimeMs)} (${localTime(endsAtMs)})`
      const name = person.name === '' || person.name === person.email ? '' : ` (${person.name})`
      return [
        `person       ${cli.paint(printable(person.email), 'bold')}${printable(name)}`,
        `roles        ${person.roles.join(', ')}`,
        `realm        ${printable(answer.realm)} at ${printable(controlUrl)}`,
        `groups       ${printable(person.groups.join(', ')) || 'none'}`,
        ...(login === null ? [] : showLogin(login, answer.controlTimeMs)),
        `certificate  ${printable(certificate?.serial ?? '')}, ends ${ends}`,
        ...(ssh === undefined ? [] : [`SSH          ${showSsh(ssh, answer.controlTimeMs)}`]),
      ].join('\n')
    })
    if (leftMs < soonMs) {
      cli.note(
        `${cli.paintNote('warning:', 'yellow')} your certificate ends in ${formatDuration(leftMs)}; ${renewal(login, endsAtMs)}`,
      )
    }
  })
}

function showSsh({ serial, expiresAtMs }: SshCertificateFile, controlTimeMs: number): string {
  const word = expiresAtMs > controlTimeMs ? 'ends' : 'ended'
  return `${serial}, ${word} ${relativeTime(expiresAtMs, controlTimeMs)} (${localTime(expiresAtMs)})`
}

/** How and how surely they proved who they are, as the identity provider said. */
function showLogin(login: Login, controlTimeMs: number): string[] {
  const { issuer, acr, amr, authTimeMs, endsAtMs } = login
  const how = [...(amr.length === 0 ? [] : [amr.join(' + ')]), ...(acr === null ? [] : [acr])]
  const when = authTimeMs === null ? '' : `, ${relativeTime(authTimeMs, controlTimeMs)}`
  return [
    `login        at ${printable(issuer)}, ends ${relativeTime(endsAtMs, controlTimeMs)} (${localTime(endsAtMs)})`,
    `assurance    ${printable(how.join(', ')) || 'not said'}${when}`,
  ]
}

/** The certificate may end before the login does. */
function renewal(login: Login | null, endsAtMs: number): string {
  const isEarly = login !== null && login.refreshable && login.endsAtMs > endsAtMs
  return isEarly ? 'renew it: sally login --refresh' : signInHint
}
