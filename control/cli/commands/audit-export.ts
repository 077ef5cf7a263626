import { renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Command } from 'commander'
import type { BundleHeader } from '../audit-bundle.ts'
import type { Cli } from '../cli.ts'
import { storedSegments } from '../stored-segments.ts'
import { withApi, type ApiWork } from '../with-api.ts'

const timeoutMs = 120_000

/** `sally audit export --output FILE [--payloads]` */
export function declareAuditExport(command: Command, cli: Cli): void {
  command
    .requiredOption('--output <file>', 'where to write it (mode 0600)')
    .option('--payloads', 'with statements and parameters; reading them is audited')
    .action(async (options: { output: string; payloads?: boolean }) => {
      const payloads = options.payloads === true ? 'with' : 'without'
      const written = await withApi(cli, (work) => writeBundle(work, options.output, payloads), {
        timeoutMs,
      })
      cli.answer(
        { file: options.output, payloads, ...written },
        () => `${written.segments} segments in ${options.output}`,
      )
      cli.note(cli.paintNote(`prove it anywhere: sally audit verify ${options.output}`, 'dim'))
    })
}

/** Whole or not at all: it has its name only once its last line is on disk. */
async function writeBundle(
  { api, home, progress }: ApiWork,
  fileName: string,
  payloads: 'with' | 'without',
): Promise<{ realm: string; exportedAtMs: number; segments: number }> {
  const { realm, controlTimeMs } = await api.call('whoami')
  const { keys } = await api.call('auditKeys')
  const partial = `${fileName}.partial`
  rmSync(partial, { force: true })
  const file = await open(partial, 'wx', 0o600)
  let count = 0
  try {
    const header: BundleHeader = {
      bundle: 'sallyport-audit',
      version: 1,
      realm,
      control: home.config.controlUrl,
      exportedAtMs: controlTimeMs,
      payloads,
      keys,
    }
    await file.write(`${JSON.stringify(header)}\n`)
    const segments = storedSegments(api, payloads, (seen) =>
      progress.update(`reading segments, ${seen}`),
    )
    for await (const segment of segments) {
      await file.write(`${JSON.stringify(segment)}\n`)
      count += 1
    }
    await file.write(`${JSON.stringify({ end: { segments: count } })}\n`)
    await file.sync()
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  } finally {
    await file.close()
  }
  renameSync(partial, fileName)
  return { realm, exportedAtMs: controlTimeMs, segments: count }
}
