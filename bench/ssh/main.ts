/**
 * `npm run bench:ssh -- [--quick] [--json]`: one sshd directly, through OpenSSH's own jump and through a real proxy with a real control,
 * recorded, on one machine, with the same clients and ciphers. See bench/options.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSupervisor } from '../../deploy/supervisor.ts'
import { systemClock as clock } from '../../protocols/kit/clock.ts'
import { missingPackages } from '../../test/debian-packages.ts'
import { startSshStack, type SshPerson } from '../../test/ssh-stack.ts'
import { announce } from '../announce.ts'
import { runBench } from '../run-bench.ts'
import { measureBulk, measureEcho, measureMemory, measureSessions } from './measure.ts'
import { sizes, type BenchOptions } from './options.ts'
import { reportOf, type BulkSample, type Measured } from './report.ts'
import { ciphers, makeAuthority, openTargets, targetNames } from './targets.ts'
import type { CipherName, SshArguments, TargetName } from './targets.ts'

const hoursMs = 2 * 3_600_000

process.exitCode = await runBench({
  name: 'ssh',
  targets: targetNames,
  sizes,
  missing: () => missingPackages().filter((name) => /^(?:openssh|libnss)/.test(name)),
  measure: async (options) => ({ report: reportOf(await measure(options)), complete: true }),
})

async function measure(options: BenchOptions): Promise<Measured> {
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  const supervisor = createSupervisor({ clock, announce })
  announce('starting two sshd, control and the proxy')
  const authority = makeAuthority(scratch)
  const stack = await startSshStack({
    sshdAuthorities: [authority.line],
    environment: { NODE_ENV: 'production' },
  })
  try {
    const person = await stack.person('bench')
    await stack.grant(person, { forMs: hoursMs })
    const to = await openTargets(stack, person, authority, supervisor)

    announce(`memory of ${options.idleSessions} idle sessions`)
    const idle = to('sallyport_no_jump')
    const { idleSessions } = options
    const memoryKb = await measureMemory(person, idle, stack.pid('proxy'), idleSessions, clock)
    announce(`${Math.round(memoryKb)} kB a session`)

    announce('sessions per second')
    const sessions: Partial<Record<TargetName, number[]>> = {}
    for (let round = 0; round < options.rounds; round += 1) {
      for (const target of targetNames) {
        const perSecond = await measureSessions(person, to(target), options.sessions, clock)
        ;(sessions[target] ??= []).push(perSecond)
      }
    }

    announce('keystrokes')
    const echo: Partial<Record<TargetName, number[]>> = {}
    for (const target of targetNames) {
      echo[target] = await measureEcho(person, to(target), options.keystrokes, clock)
    }

    announce('bulk')
    const bulk = await measureAllBulk(person, to, options)
    return { bulk, echo, sessions, memoryKb }
  } finally {
    await supervisor.stop()
    await stack.stop()
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function measureAllBulk(
  person: SshPerson,
  to: SshArguments,
  options: BenchOptions,
): Promise<BulkSample[]> {
  const samples: BulkSample[] = []
  for (let round = 0; round < options.rounds; round += 1) {
    for (const cipher of Object.keys(ciphers) as CipherName[]) {
      for (const direction of ['up', 'down'] as const) {
        for (const target of targetNames) {
          const args = to(target, cipher)
          const { bulkBytes } = options
          const bytesPerSecond = await measureBulk(person, args, direction, bulkBytes, clock)
          samples.push({ round, target, cipher, direction, bytesPerSecond })
        }
      }
    }
    announce(`round ${round + 1} of ${options.rounds}`)
  }
  return samples
}
