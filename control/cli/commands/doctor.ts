import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import type { Check } from '../doctor/check.ts'
import { failed } from '../doctor/check.ts'
import { checkControl } from '../doctor/check-control.ts'
import { checkCertificate, checkHomeFiles } from '../doctor/check-home.ts'
import { checkCurl } from '../doctor/check-curl.ts'
import { checkHttps, checkNames, checkProxy } from '../doctor/check-proxy.ts'
import { checkPsql } from '../doctor/check-psql.ts'
import { checkSsh } from '../doctor/check-ssh.ts'
import { exitCodes } from '../exit-codes.ts'
import { homeDirectory, homeFiles, readHome, type Home } from '../home.ts'
import { printable } from '../printable.ts'
import { signInHint } from '../sign-in-hint.ts'
import { startProgress } from '../progress.ts'

/** `sally doctor` */
export function declareDoctor(command: Command, cli: Cli): void {
  command.action(async () => {
    const progress = startProgress(cli, 'checking')
    const checks = await checkAll(cli)
    progress.end()
    const healthy = checks.every(({ state }) => state !== 'fail')
    cli.answer({ ok: healthy, checks }, () => showChecks(cli, checks))
    if (!healthy) cli.exitWith(exitCodes.negative)
  })
}

async function checkAll(cli: Cli): Promise<Check[]> {
  const psql = checkPsql(cli.environment)
  const files = homeFiles(homeDirectory(cli.environment))
  let home: Home
  try {
    home = readHome(cli.environment)
  } catch (error) {
    return [failed('home', error, signInHint), await psql]
  }
  const [control, proxy, https, names, ssh] = await Promise.all([
    checkControl(home, cli.clock),
    checkProxy(home),
    checkHttps(home),
    checkNames(home),
    checkSsh(home, cli.clock, cli.environment),
  ])
  const curl = checkCurl(home, cli.environment)
  const local = [...checkHomeFiles(files), checkCertificate(home, cli.clock)]
  return [...local, ...control, proxy, ...https, names, await psql, ...curl, ...ssh]
}

const styles = { ok: 'green', warn: 'yellow', fail: 'red' } as const

function showChecks(cli: Cli, checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length))
  return checks
    .flatMap(({ name, state, detail, mend }) => [
      `${cli.paint(state.padEnd(4), styles[state])}  ${name.padEnd(width)}  ${printable(detail)}`,
      ...(mend === undefined ? [] : [`${' '.repeat(width + 8)}→ ${printable(mend)}`]),
    ])
    .join('\n')
}
