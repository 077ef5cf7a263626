import { spawn } from 'node:child_process'

export type QueryMode = 'simple' | 'prepared'

export interface PgbenchRun {
  /** What was done, to the last one. */
  readonly transactions: number
  readonly transactionsPerSecond: number
}

/** Fills the tables of pgbench; through a connection that may create them. */
export async function fillPgbench(environment: NodeJS.ProcessEnv, scale: number): Promise<void> {
  await pgbench(['-i', '-q', '-s', String(scale)], environment)
}

/** Select-only with this many clients for so long. Rejects if a single transaction failed. */
export async function runPgbench(
  environment: NodeJS.ProcessEnv,
  mode: QueryMode,
  clients: number,
  seconds: number,
): Promise<PgbenchRun> {
  const output = await pgbench(
    [
      ...['-S', '-n', '-M', mode, '-c', String(clients), '-j', String(Math.min(clients, 2))],
      ...['-T', String(seconds)],
    ],
    environment,
  )
  const transactions = numberIn(output, /number of transactions actually processed: (\d+)/)
  const failed = numberIn(output, /number of failed transactions: (\d+)/)
  if (failed > 0) throw new Error(`${failed} transactions failed:\n${output}`)
  // "without initial connection time": connecting is measured by itself.
  return { transactions, transactionsPerSecond: numberIn(output, /^tps = ([\d.]+)/m) }
}

function numberIn(output: string, pattern: RegExp): number {
  const match = pattern.exec(output)
  if (match === null) throw new Error(`pgbench did not say ${pattern.source}:\n${output}`)
  return Number(match[1])
}

function pgbench(parameters: readonly string[], environment: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('pgbench', parameters, { env: { ...process.env, ...environment } })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`pgbench ended with ${code}:\n${errors}`))
    })
  })
}
