import type { Command } from 'commander'
import type { SshKeyView } from '../../api/ssh.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

/** `sally ssh-key list [--person EMAIL]` */
export function declareSshKeyList(command: Command, cli: Cli): void {
  addPageOptions(command.option('--person <email>', 'only of this person')).action(
    async (options: PageOptions & { person?: string }) => {
      const filter = options.person === undefined ? {} : { person: options.person }
      const page = await withApi(cli, ({ api, progress }) =>
        readPages<SshKeyView, { items: SshKeyView[]; next: string | null }>(
          options,
          (query) => api.call('sshKeys', { query: { ...query, ...filter } }),
          (count) => progress.update(`reading keys, ${count}`),
        ),
      )
      cli.answer(page, () => showKeys(cli, page.items))
      noteMore(cli, page)
    },
  )
}

function showKeys(cli: Cli, keys: readonly SshKeyView[]): string {
  if (keys.length === 0) {
    return 'no registered SSH keys\nnone is needed: sally login makes one with a certificate; to add a hardware key: sally ssh-key add FILE'
  }
  const nowMs = cli.clock.wallMs()
  const short = shortIds(keys.map(({ id }) => id))
  return cli.table(
    [
      { header: 'KEY' },
      { header: 'PERSON', shrinks: true },
      { header: 'NAME', shrinks: true },
      { header: 'TYPE' },
      { header: 'ENDS' },
      { header: 'FINGERPRINT', shrinks: true },
    ],
    keys.map((key) => [
      short(key.id),
      key.personEmail,
      key.name,
      key.publicKey.split(' ')[0] ?? '',
      {
        text: relativeTime(key.expiresAtMs, nowMs),
        style: key.expiresAtMs > nowMs ? 'green' : 'dim',
      },
      key.fingerprint,
    ]),
  )
}
