import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { bundleHeader, type BundleHeader } from '../audit-bundle.ts'
import type { Cli } from '../cli.ts'
import { exitCodes } from '../exit-codes.ts'
import { exportStatements } from '../export-statements.ts'
import { isOutage } from '../is-outage.ts'
import { openLines } from '../resumable-lines.ts'
import { addFilterOptions, type FilterOptions } from '../search-filter.ts'
import { withApi, type ApiWork } from '../with-api.ts'

const timeoutMs = 120_000

interface ExportOptions extends FilterOptions {
  output: string
  payloads?: boolean
  statements?: boolean
  text?: string
  resume?: boolean
}

/** `sally audit export --output FILE [--payloads | --statements [--text …]] [--resume]` */
export function declareAuditExport(command: Command, cli: Cli): void {
  command
    .requiredOption('--output <file>', 'where to write it (mode 0600)')
    .option('--payloads', 'the chains with statements and parameters; reading them is audited')
    .option('--statements', 'what a search finds, one statement a line, instead of the chains')
    .option('--text <text>', 'with --statements: only those that hold this text')
    .option('--resume', 'go on with what broke off (FILE.partial)')
  addFilterOptions(command).action(async (options: ExportOptions) => {
    const { output, statements } = options
    if (statements !== true) refuseFilters(options)
    else if (options.payloads === true) throw misused('--payloads', 'is for the chains')
    const work = async (apiWork: ApiWork): Promise<void> => {
      if (statements !== true) return exportChains(cli, apiWork, options)
      const end = await exportStatements(cli, apiWork, options)
      cli.answer({ file: output, ...end }, () => `${end.statements} statements in ${output}`)
      for (const missing of end.missing) cli.note(cli.paintNote(`not whole: ${missing}`, 'yellow'))
      if (!end.complete) cli.exitWith(exitCodes.negative)
    }
    try {
      await withApi(cli, work, { timeoutMs })
    } catch (error) {
      throw sayResume(error, output)
    }
  })
}

/** Whole, or `FILE.partial`: it has its name only once its last line is on disk. */
async function exportChains(
  cli: Cli,
  { api, home, progress }: ApiWork,
  options: ExportOptions,
): Promise<void> {
  const payloads = options.payloads === true ? 'with' : 'without'
  const { realm, controlTimeMs } = await api.call('whoami')
  const { keys } = await api.call('auditKeys')
  const wanted: BundleHeader = {
    bundle: 'sallyport-audit',
    version: 1,
    realm,
    control: home.config.controlUrl,
    exportedAtMs: controlTimeMs,
    payloads,
    keys,
  }
  // What a key that is new since has signed could not be verified.
  const matches = (found: unknown): found is BundleHeader => {
    const header = bundleHeader.safeParse(found)
    const same = { ...wanted, exportedAtMs: header.data?.exportedAtMs }
    return header.success && JSON.stringify(header.data) === JSON.stringify(same)
  }
  const file = await openLines(
    options.output,
    wanted,
    options.resume === true ? { matches } : undefined,
  )
  let { cursor, items: segments } = file
  try {
    do {
      const query = { payloads, limit: 20, ...(cursor === undefined ? {} : { cursor }) } as const
      const page = await api.call('auditSegments', { query })
      segments += page.items.length
      progress.update(`reading segments, ${segments}`)
      const next = page.next === cursor ? null : page.next
      await file.page(page.items, next)
      cursor = next ?? undefined
    } while (cursor !== undefined)
    await file.finish({ segments })
  } catch (error) {
    await file.giveUp(error)
    throw error
  }
  const { exportedAtMs } = file.header
  cli.answer(
    { file: options.output, payloads, realm, exportedAtMs, segments },
    () => `${segments} segments in ${options.output}`,
  )
  cli.note(cli.paintNote(`prove it anywhere: sally audit verify ${options.output}`, 'dim'))
}

function refuseFilters(options: ExportOptions): void {
  const own = new Set(['output', 'payloads', 'resume'])
  const name = Object.keys(options).find((option) => !own.has(option))
  if (name !== undefined) throw misused(`--${name}`, 'needs --statements: chains are whole')
}

function misused(option: string, why: string): SallyportError {
  return new SallyportError('usage', `${option} ${why}`, { clientMessage: `${option} ${why}` })
}

/** What is there already need not be read again. */
function sayResume(thrown: unknown, output: string): SallyportError {
  if (!isOutage(thrown) || !existsSync(`${output}.partial`)) throw thrown
  return new SallyportError(thrown.code, thrown.message, {
    clientMessage: thrown.clientMessage,
    hint: `what came is in ${output}.partial; go on with the same command and --resume`,
    cause: thrown,
  })
}
