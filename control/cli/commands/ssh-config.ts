import { userInfo } from 'node:os'
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { isOutage } from '../is-outage.ts'
import { printable } from '../printable.ts'
import { formatClientConfig, renewKnownHosts, writeClientConfig } from '../ssh/client-config.ts'
import { addInclude, includeLine, userConfigFile } from '../ssh/user-config.ts'
import { withApi } from '../with-api.ts'

/** `sally ssh-config [--write] [--print]` */
export function declareSshConfig(command: Command, cli: Cli): void {
  command
    .option('--write', 'into the home, and one line that includes it into ~/.ssh/config')
    .option('--print', 'show it; what happens without --write')
    .addHelpText(
      'after',
      '\nThen every program of OpenSSH knows the resources by name, and everything that runs it: scp, sftp,' +
        '\nrsync, git, Ansible, editors. No name has to resolve.' +
        '\n  ssh web1.access.example.com\n  ssh admin@web1.access.example.com      with the grant at that level' +
        '\nIt holds no secret: the certificate in your home is what lets you in, while you have a grant.',
    )
    .action(async (options: { write?: boolean; print?: boolean }) => {
      const { home, fresh } = await withApi(
        cli,
        async ({ api, home: found }) => {
          // Before anything is written: what cannot work leaves no trace.
          formatClientConfig(found)
          const renewed = await renewKnownHosts(api, found).then(
            () => true,
            (error: unknown) => {
              if (!isOutage(error)) throw error
              return false
            },
          )
          return { home: found, fresh: renewed }
        },
        { timeoutMs: 10_000 },
      )
      const { config } = home.files.ssh
      const text = options.write === true ? writeClientConfig(home) : formatClientConfig(home)
      const file = userConfigFile(cli.environment)
      const added = options.write === true && addInclude(file, config)
      const shows = options.print === true || options.write !== true
      cli.answer(
        {
          file,
          config,
          include: includeLine(config),
          written: options.write === true,
          added,
          text,
        },
        () => {
          const done = added ? `${file} includes ${config}` : `${file} included ${config} already`
          return [...(options.write === true ? [done] : []), ...(shows ? [text.trimEnd()] : [])]
            .map(printableLines)
            .join('\n')
        },
      )
      if (!fresh) warn(cli, 'control does not answer: hosts are known as at the last sign-in')
      if (options.write === true && userInfo().homedir !== cli.environment['HOME']) {
        warn(cli, `ssh reads its configuration in ${userInfo().homedir}, whatever HOME says`)
      }
      const next =
        options.write === true
          ? `try it: ssh RESOURCE.${home.config.domain}`
          : `sally ssh-config --write has ${file} include it`
      cli.note(cli.paintNote(printable(next), 'dim'))
    })
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

function warn(cli: Cli, text: string): void {
  cli.note(`${cli.paintNote('warning:', 'yellow')} ${printable(text)}`)
}
