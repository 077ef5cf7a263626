import { existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseDuration } from '../../api/duration.ts'
import type { Cli } from '../cli.ts'
import { findPerson } from '../find-person.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'
import { writeHome } from '../write-home.ts'

/** `sally people certificate EMAIL --home DIR [--for DURATION] [--replace]` */
export function declarePeopleCertificate(command: Command, cli: Cli): void {
  command
    .argument('<email>', 'e-mail address')
    .requiredOption('--home <dir>', 'where to make the home; becomes their SALLY_HOME')
    .option('--for <duration>', 'how long it is valid (default and most: what control allows)')
    .option('--replace', 'replace the certificate of a home that exists')
    .action(async (email: string, options: { home: string; for?: string; replace?: boolean }) => {
      const directory = resolve(options.home)
      refuseUsedDirectory(directory, options.replace === true)
      const forMs = options.for === undefined ? undefined : parseDuration(options.for)
      const made = await withApi(cli, async ({ api, home, progress }) => {
        const person = await findPerson(api, email)
        progress.update('making keys')
        const { createHomeKeys } = await import('../home-keys.ts')
        const keys = await createHomeKeys()
        progress.update('asking control for the certificate')
        const certificate = await api.call('certificateIssue', {
          params: { id: person.id },
          body: { ...keys.ask, ...(forMs === undefined ? {} : { forMs }) },
        })
        return { person, certificate, keys, config: home.config }
      })
      const { certificate, person } = made
      writeHome(directory, { ...made.config, email: person.email }, made.keys, certificate)
      cli.answer(
        {
          home: directory,
          email: person.email,
          serial: certificate.serial,
          expiresAtMs: certificate.expiresAtMs,
        },
        () => {
          const ends = `${localTime(certificate.expiresAtMs)} (${relativeTime(certificate.expiresAtMs, cli.clock.wallMs())})`
          return `${printable(person.email)} is signed in at ${directory} until ${ends}\ncertificate ${printable(certificate.serial)}`
        },
      )
      cli.note(cli.paintNote(`try it: SALLY_HOME=${directory} sally whoami`, 'dim'))
    })
}

function refuseUsedDirectory(directory: string, replace: boolean): void {
  if (replace || !existsSync(directory) || readdirSync(directory).length === 0) return
  throw new SallyportError('conflict', `${directory} is not empty`, {
    clientMessage: `${directory} is there already and not empty`,
    hint: 'name another directory, or add --replace to renew the home that is there',
  })
}
