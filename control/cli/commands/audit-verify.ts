import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { describeDamage } from '../../api/audit/damage.ts'
import type { Damage } from '../../api/audit/verify-chain.ts'
import { openBundle } from '../audit-bundle.ts'
import { readHeads, rememberHeads, type RememberedHeads } from '../audit-heads.ts'
import type { Cli } from '../cli.ts'
import { exitCodes } from '../exit-codes.ts'
import { homeDirectory, homeFiles } from '../home.ts'
import { printable } from '../printable.ts'
import { startProgress } from '../progress.ts'
import { localTime } from '../show-time.ts'
import { storedSegments } from '../stored-segments.ts'
import { verifyAudit, type AuditVerdict, type Verified } from '../verify-audit.ts'
import { withApi } from '../with-api.ts'

interface VerifyOptions {
  payloads?: boolean
  heads: boolean
}
const timeoutMs = 120_000
const nothingRemembered: RememberedHeads = { version: 1, keys: [], heads: [] }

/** `sally audit verify [FILE] [--payloads] [--no-heads]` */
export function declareAuditVerify(command: Command, cli: Cli): void {
  command
    .argument('[file]', 'bundle of sally audit export: verified without asking anybody')
    .option(
      '--payloads',
      'without FILE: fetch statements too and check them; reading them is audited',
    )
    .option(
      '--no-heads',
      'do not compare with the heads that this home has seen (another installation)',
    )
    .addHelpText(
      'after',
      '\nHeads that control countersigned are remembered in the home, so that a tail which is' +
        '\ncut off later is found. Exit code 0: everything holds; 1: damage, each place is named.',
    )
    .action(async (file: string | undefined, options: VerifyOptions) => {
      const files = homeFiles(homeDirectory(cli.environment))
      const remembered = options.heads ? readHeads(files.auditHeads) : nothingRemembered
      const { verdict, seen } =
        file === undefined
          ? await verifyStored(cli, remembered, options.payloads === true)
          : await verifyFile(cli, file, remembered)
      const remember = options.heads && existsSync(files.directory)
      if (remember) rememberHeads(files.auditHeads, remembered, seen)
      cli.answer({ source: file ?? 'control', ...verdict }, () => showVerdict(cli, verdict, file))
      if (!remember && options.heads) {
        cli.note(
          `there is no home at ${files.directory}: a cut tail is found only by what the chains say themselves`,
        )
      }
      if (!verdict.ok) cli.exitWith(exitCodes.negative)
    })
}

function verifyStored(cli: Cli, remembered: RememberedHeads, payloads: boolean): Promise<Verified> {
  return withApi(
    cli,
    async ({ api, progress }) => {
      const { realm, controlTimeMs } = await api.call('whoami')
      const { keys } = await api.call('auditKeys')
      const segments = storedSegments(api, payloads ? 'with' : 'without', (count) =>
        progress.update(`verifying, ${count} segments`),
      )
      return verifyAudit(
        {
          realm,
          atMs: controlTimeMs,
          headsUntilMs: Number.POSITIVE_INFINITY,
          keys,
          segments,
          damage: [],
        },
        remembered,
      )
    },
    { timeoutMs },
  )
}

async function verifyFile(cli: Cli, file: string, remembered: RememberedHeads): Promise<Verified> {
  const progress = startProgress(cli, `verifying ${file}`)
  try {
    const { header, segments, damage } = await openBundle(file)
    const { realm, keys, exportedAtMs: atMs } = header
    const source = { realm, atMs, headsUntilMs: atMs, keys, segments, damage }
    return await verifyAudit(source, remembered)
  } finally {
    progress.end()
  }
}

function showVerdict(cli: Cli, verdict: AuditVerdict, file: string | undefined): string {
  const epochs = verdict.chains.flatMap((chain) => chain.epochs)
  const total = (read: (epoch: (typeof epochs)[number]) => number): number =>
    epochs.reduce((sum, epoch) => sum + read(epoch), 0)
  const lines = [
    `${file === undefined ? 'audit of control' : `bundle ${file}`}, realm ${printable(verdict.realm)}, as of ${localTime(verdict.atMs)}`,
    `  chains        ${verdict.chains.length} (${epochs.length} epochs)`,
    `  batches       ${verdict.batches}`,
    `  entries       ${verdict.entries}, ${total(({ activities }) => activities)} of them activities; ${total(({ payloadsWithheld }) => payloadsWithheld)} payloads by their commitment only`,
    `  checkpoints   ${verdict.segments}, signed and countersigned`,
    `  heads         ${verdict.heads.compared} remembered ones compared${verdict.heads.newer > 0 ? `, ${verdict.heads.newer} are newer than this and were not` : ''}`,
  ]
  for (const kid of verdict.newKeys) {
    lines.push(
      cli.paint(
        `  new key       ${printable(kid)} countersigns; was control’s key changed?`,
        'yellow',
      ),
    )
  }
  for (const damage of verdict.damage) lines.push(cli.paint(`  ${showDamage(damage)}`, 'red'))
  if (verdict.damageOmitted > 0) lines.push(`  … and ${verdict.damageOmitted} more`)
  const places = verdict.damage.length + verdict.damageOmitted
  lines.push(
    verdict.ok
      ? cli.paint('green: nothing was changed, cut off or swapped', 'green')
      : cli.paint(`damaged in ${places} ${places === 1 ? 'place' : 'places'}`, 'red'),
  )
  return lines.join('\n')
}

function showDamage(damage: Damage): string {
  return printable(damage.chain === '' ? damage.detail : describeDamage(damage))
}
