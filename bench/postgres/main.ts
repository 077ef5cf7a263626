/**
 * `npm run bench:postgres -- [--quick] [--json]`: PostgreSQL directly, through pgbouncer (session pooling) and through a real
 * proxy with a real control, on one machine, all with the same TLS. See bench/options.ts.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { allocatorFile, allocatorPackage } from '../../deploy/allocator.ts'
import { freePort } from '../../deploy/ports.ts'
import { createSupervisor } from '../../deploy/supervisor.ts'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { missingPackages } from '../../test/debian-packages.ts'
import { accountOf, readLog, stackDatabase, startStack, type Stack } from '../../test/stack.ts'
import { announce } from '../announce.ts'
import { runBench } from '../run-bench.ts'
import { measureSearch, statementsStored, untilIndexed, type Completeness } from './completeness.ts'
import { measureConnect } from './connect.ts'
import { measureExpiry, measureRevocation, type CutSample } from './cuts.ts'
import { measureMemory } from './memory.ts'
import { sizes, type BenchOptions } from './options.ts'
import { fillPgbench, runPgbench } from './pgbench.ts'
import { startPgbouncer } from './pgbouncer.ts'
import { reportOf, type Measured } from './report.ts'
import {
  directTarget,
  pgbouncerTarget,
  sallyportTarget,
  targetNames,
  type Target,
} from './targets.ts'
import { measureThroughput, warmUp } from './throughput.ts'

const scale = 10
const hourMs = 3_600_000

process.exitCode = await runBench({
  name: 'postgres',
  targets: targetNames,
  sizes,
  missing,
  async measure(options) {
    const measured = await measure(options)
    const { completeness, pgbench } = measured
    const complete =
      completeness.missing + completeness.duplicated === 0 && pgbench.stored === pgbench.sent
    return { report: reportOf(measured), complete }
  },
})

function missing(): string[] {
  const missing = missingPackages().filter((name) => /^p(?:ostgresql|gbouncer)/.test(name))
  return allocatorFile() === undefined ? [...missing, allocatorPackage] : missing
}

async function measure(options: BenchOptions): Promise<Measured> {
  const supervisor = createSupervisor({ clock, announce })
  announce('starting PostgreSQL, control and the proxy')
  const stack = await startStack({
    postgresSettings: { max_connections: '1300', max_wal_size: '4GB' },
    environment: { NODE_ENV: 'production' },
  })
  try {
    const password = stack.passwords.get('read')!
    const database = await startDatabaseSide(stack, supervisor, password)
    const person = await stack.person('bench')
    const caPem = readFileSync(stack.caFile, 'utf8')
    const sallyport = sallyportTarget(stack, person, caPem)
    const targets = [...database, sallyport]

    announce(`completeness: ${options.uniqueStatements} statements, each looked up in the store`)
    const grant = await stack.grant(person, { forMs: 2 * hourMs })
    const completeness = await measureSearch(
      stack,
      sallyport,
      grant,
      options.uniqueStatements,
      clock,
    )

    announce('connect latency')
    const connectMs = await measureConnect(targets, options.rounds, options.connectsPerRound, clock)

    announce(`memory of ${options.idleSessions} idle sessions of pgbouncer, then of ours`)
    const pgbouncer = await measureMemory(targets[1]!, options.idleSessions, clock)
    announce(`pgbouncer: ${Math.round(pgbouncer)} kB a session`)
    const ours = await measureMemory(sallyport, options.idleSessions, clock)
    announce(`sallyport: ${Math.round(ours)} kB a session`)
    const memoryKb = { pgbouncer, sallyport: ours }
    await stack.api.call('grantRevoke', { params: { id: grant.id }, body: { reason: 'done' } })

    announce(`cuts of 1 and ${options.cutSessions} sessions`)
    const cuts = await measureCuts(stack, caPem, options)

    announce('throughput')
    const { throughput, pgbench } = await measurePgbench(stack, targets, options)
    return { throughput, connectMs, memoryKb, ...cuts, completeness, pgbench }
  } catch (error) {
    const lines = readLog(stack, 'proxy').trimEnd().split('\n')
    const telling = lines.filter((line) => !line.includes('"level":30') || line.includes('refused'))
    console.error(`the proxy's log:\n${telling.slice(-10).join('\n')}`)
    throw error
  } finally {
    await supervisor.stop()
    await stack.stop()
  }
}

async function startDatabaseSide(
  stack: Stack,
  supervisor: ReturnType<typeof createSupervisor>,
  password: string,
): Promise<[Target, Target]> {
  const pgbouncer = await startPgbouncer({
    directory: join(stack.directory, 'pgbouncer'),
    cluster: stack.cluster,
    port: await freePort(),
    account: { name: accountOf('read'), password },
    database: stackDatabase,
    supervisor,
    clock,
  })
  const authority = (name: string, pem: string): string => {
    const path = join(stack.directory, name)
    writeFileSync(path, pem)
    return path
  }
  const databaseCa = authority('database-ca.pem', stack.cluster.authorityPem)
  const direct = directTarget(stack.cluster, password, databaseCa)
  const owner = { PGUSER: accountOf('admin'), PGPASSWORD: stack.passwords.get('admin')! }
  await fillPgbench({ ...direct.environment, ...owner }, scale)
  const pgbouncerCa = authority('pgbouncer-ca.pem', pgbouncer.authorityPem)
  return [direct, pgbouncerTarget(pgbouncer, password, pgbouncerCa)]
}

async function measureCuts(
  stack: Stack,
  caPem: string,
  options: BenchOptions,
): Promise<{ revocations: CutSample[]; expiries: CutSample[] }> {
  const person = await stack.person('cut')
  const revocations: CutSample[] = []
  const expiries: CutSample[] = []
  const counts = [...Array.from({ length: options.cutRounds }, () => 1), options.cutSessions]
  for (const count of counts) {
    const revoked = await measureRevocation(stack, person, caPem, count, clock)
    revocations.push(revoked)
    const expired = await measureExpiry(stack, person, caPem, count, clock)
    expiries.push(expired)
    const ms = (sample: CutSample): string => `${Math.round(sample.seenByClientsMs)} ms`
    announce(
      `${count} sessions: last byte ${ms(revoked)} after revocation, ${ms(expired)} after expiry`,
    )
  }
  return { revocations, expiries }
}

/** Throughput of all targets, and whether the store has every transaction that pgbench did through the proxy. */
async function measurePgbench(
  stack: Stack,
  targets: readonly Target[],
  options: BenchOptions,
): Promise<{ throughput: Measured['throughput']; pgbench: Completeness }> {
  const person = await stack.person('pgbench')
  const caPem = readFileSync(stack.caFile, 'utf8')
  const through = sallyportTarget(stack, person, caPem)
  const warm = await stack.grant(person, { forMs: hourMs })
  for (const target of [targets[1]!, through]) await warmUp(target, options.warmUpSeconds)
  await stack.api.call('grantRevoke', { params: { id: warm.id }, body: { reason: 'done' } })
  // pgbench asks for its tables before it begins: how many statements that takes, a short run tells.
  const trial = await stack.grant(person, { forMs: hourMs })
  const { transactions } = await runPgbench(through.environment, 'simple', 1, 1)
  const extra = (await statementsStored(stack, trial, clock)).statements - transactions
  await stack.api.call('grantRevoke', { params: { id: trial.id }, body: { reason: 'done' } })

  const grant = await stack.grant(person, { forMs: 2 * hourMs })
  const throughput = await measureThroughput(
    [targets[0]!, targets[1]!, through],
    stack.pid('control'),
    () => untilIndexed(stack, clock),
    options,
    announce,
  )
  await untilIndexed(stack, clock)
  const runs = throughput.filter(({ target }) => target === 'sallyport')
  const sent = runs.reduce((sum, run) => sum + run.transactions + extra, 0)
  const { statements: stored } = await statementsStored(stack, grant, clock)
  announce(`pgbench: ${sent} statements sent, ${stored} stored`)
  return {
    throughput,
    pgbench: {
      sent,
      stored,
      missing: Math.max(0, sent - stored),
      duplicated: Math.max(0, stored - sent),
    },
  }
}
