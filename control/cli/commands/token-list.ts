import { Option, type Command } from 'commander'
import type { TokenView } from '../../api/token-shapes.ts'
import type { Cli } from '../cli.ts'
import { addPageOptions, noteMore, readPages, type PageOptions } from '../pages.ts'
import { shortIds } from '../short-ids.ts'
import { relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'

interface TokenListOptions extends PageOptions {
  person?: string
  state: 'live' | 'all'
}

/** `sally token list [--person --state]` */
export function declareTokenList(command: Command, cli: Cli): void {
  addPageOptions(
    command
      .option('--person <email>', 'only of this person')
      .addOption(
        new Option('--state <state>', 'all: also used, ended and revoked ones')
          .choices(['live', 'all'])
          .default('live'),
      ),
  ).action(async (options: TokenListOptions) => {
    const filter = {
      state: options.state,
      ...(options.person === undefined ? {} : { person: options.person }),
    }
    const page = await withApi(cli, ({ api, progress }) =>
      readPages<TokenView, { items: TokenView[]; next: string | null }>(
        options,
        (query) => api.call('tokens', { query: { ...query, ...filter } }),
        (count) => progress.update(`reading tokens, ${count}`),
      ),
    )
    cli.answer(page, () => showTokens(cli, page.items))
    noteMore(cli, page)
  })
}

function showTokens(cli: Cli, tokens: readonly TokenView[]): string {
  if (tokens.length === 0) {
    return 'no tokens\nmake one: sally token connect RESOURCE, or sally token create --name NAME'
  }
  const nowMs = cli.clock.wallMs()
  const short = shortIds(tokens.map(({ id }) => id))
  return cli.table(
    [
      { header: 'TOKEN' },
      { header: 'PERSON', shrinks: true },
      { header: 'FOR', shrinks: true },
      { header: 'SCOPE' },
      { header: 'STATE' },
      { header: 'ENDS' },
      { header: 'LAST USE' },
    ],
    tokens.map((token) => [
      short(token.id),
      token.personEmail,
      token.name ?? token.resource ?? '',
      token.scope ?? `connect${token.level === null ? '' : `, ${token.level}`}`,
      { text: token.state, style: token.state === 'live' ? 'green' : 'dim' },
      relativeTime(token.revokedAtMs ?? token.expiresAtMs, nowMs),
      lastUse(token, nowMs),
    ]),
  )
}

/** Of an API token control keeps the hour only: "18m ago" may be before it was made. */
function lastUse({ kind, usedAtMs }: TokenView, nowMs: number): string {
  if (usedAtMs === null) return 'never'
  const isOfThisHour = kind === 'api' && nowMs - usedAtMs < 3_600_000
  return isOfThisHour ? 'this hour' : relativeTime(usedAtMs, nowMs)
}
