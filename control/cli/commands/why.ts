import type { Command } from 'commander'
import type { Why } from '../../api/request.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { askCommand, askedText, connectCommand, untilText, waitsForText } from '../request-words.ts'
import { showWays } from '../show-ways.ts'
import { withApi } from '../with-api.ts'
import { withHint } from '../with-hint.ts'

/** `sally why RESOURCE` */
export function declareWhy(command: Command, cli: Cli): void {
  command.argument('<resource>', 'name of the resource').action(async (name: string) => {
    const why = await withApi(cli, ({ api }) =>
      api.call('why', { params: { name } }).catch((error: unknown) => {
        throw withHint(error, 'not-found', toSee)
      }),
    )
    cli.answer(why, () => showWhy(cli, why))
  })
}

const toSee = 'sally resources shows what you may reach and what you may ask for'

function showWhy(cli: Cli, { resource, grants, pending, ways }: Why): string {
  const nowMs = cli.clock.wallMs()
  const lines: string[] = []
  for (const grant of grants) {
    lines.push(
      `you have ${cli.paint(grant.level, 'green')} until ${untilText(grant.expiresAtMs, nowMs)}, grant ${grant.id}`,
      `  → ${connectCommand(grant)}`,
    )
  }
  for (const request of pending) {
    lines.push(
      `${printable(request.personEmail)} asked for ${askedText(request)}; it waits for ${waitsForText(request)}`,
      request.mine === 'decide'
        ? `  → sally approve ${request.id}`
        : `  → sally withdraw ${request.id} takes it back; unanswered it ends ${untilText(request.answerByMs, nowMs)}`,
    )
  }
  if (grants.length === 0) lines.push(`you cannot reach ${printable(resource)} now`)
  if (ways.length === 0) {
    lines.push('there is nothing that you may ask for here')
    return lines.join('\n')
  }
  lines.push('', 'you may ask for', showWays(cli, ways))
  const held = new Set(grants.map(({ level }) => level))
  const next = ways.find(({ level }) => !held.has(level)) ?? ways[0]
  if (next !== undefined) lines.push(`  → ${askCommand(resource, next)}`)
  return lines.join('\n').trimStart()
}
