import type { Command } from 'commander'
import { formatDuration } from '../../api/duration.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** A certificate that ends sooner than this is worth a warning. */
const soonMs = 3_600_000

/** `sally whoami` */
export function declareWhoami(command: Command, cli: Cli): void {
  command.action(async () => {
    const { answer, controlUrl } = await withApi(cli, async ({ api, home }) => ({
      answer: await api.call('whoami'),
      controlUrl: home.config.controlUrl,
    }))
    const { person, certificate } = answer
    // A home has one, so control was shown one.
    const endsAtMs = certificate?.expiresAtMs ?? answer.controlTimeMs
    const leftMs = endsAtMs - answer.controlTimeMs
    cli.answer(answer, () => {
      const ends = `${relativeTime(endsAtMs, answer.controlTimeMs)} (${localTime(endsAtMs)})`
      const name = person.name === '' || person.name === person.email ? '' : ` (${person.name})`
      return [
        `person       ${cli.paint(printable(person.email), 'bold')}${printable(name)}`,
        `roles        ${person.roles.join(', ')}`,
        `realm        ${printable(answer.realm)} at ${printable(controlUrl)}`,
        `certificate  ${printable(certificate?.serial ?? '')}, ends ${ends}`,
      ].join('\n')
    })
    if (leftMs < soonMs) {
      cli.note(
        `${cli.paintNote('warning:', 'yellow')} your certificate ends in ${formatDuration(leftMs)}; ask an admin: sally people certificate ${printable(person.email)} --home DIR --replace`,
      )
    }
  })
}
