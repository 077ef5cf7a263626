import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { Clock } from '../../../protocols/kit/clock.ts'
import { readPrivateFile } from '../../../protocols/kit/private-file.ts'
import { parseSshPublicKeyLine } from '../../../protocols/kit/ssh-public-key.ts'
import { formatDuration } from '../../api/duration.ts'
import { findProgram } from '../find-program.ts'
import type { Home } from '../home.ts'
import { signInHint } from '../sign-in-hint.ts'
import { findAgent } from '../ssh/agent.ts'
import { readSshCertificate } from '../ssh/certificate-file.ts'
import { writeClientConfig } from '../ssh/client-config.ts'
import { userConfigFile } from '../ssh/user-config.ts'
import { fail, failed, ok, warn, type Check } from './check.ts'

/** ProxyJump and Include are of 7.3; certificates of Ed25519 in agents of 8.1 and before had gaps. */
const versionMin = 7.3
const versionGood = 8.2
const soonMs = 3_600_000
const answerSeconds = 5
const install = 'sudo apt-get install openssh-client (macOS: brew install openssh)'

/** Everything between somebody who types ssh and the proxy. Nothing where the home knows of no SSH. */
export async function checkSsh(
  home: Home,
  clock: Clock,
  environment: NodeJS.ProcessEnv,
): Promise<Check[]> {
  if (home.config.proxyPorts.ssh === undefined) return []
  const certificate = checkCertificate(home, clock)
  const program = findProgram('ssh', environment)
  if (program === undefined) {
    return [certificate, fail('ssh', 'is not installed (it is not on PATH)', install)]
  }
  const run = runner(program, environment)
  const isSignedIn = existsSync(home.files.ssh.certificate)
  const more = await Promise.all([
    checkVersion(run, program),
    checkUserConfig(run, home, environment),
    checkAgent(home, environment),
    checkSshProxy(run, home, isSignedIn),
  ])
  return [certificate, ...more.flat()]
}

type Run = (...words: string[]) => Promise<{ stdout: string; stderr: string }>

/** Both outputs, also of one that ends with an error, as every check of a sign-in does. */
function runner(program: string, env: NodeJS.ProcessEnv): Run {
  return async (...words) => {
    const options = { env, timeout: 4 * answerSeconds * 1_000 }
    const ran = promisify(execFile)(program, words, options)
    ran.child.stdin?.end()
    return ran.catch(({ stdout = '', stderr = '' }: { stdout?: string; stderr?: string }) => ({
      ...{ stdout, stderr },
    }))
  }
}

function checkCertificate(home: Home, clock: Clock): Check {
  const name = 'SSH certificate'
  const renew = signInHint
  try {
    const found = readSshCertificate(home.files)
    if (found === undefined) {
      return warn(name, 'the home has none (who only audits gets none)', renew)
    }
    readPrivateFile(home.files.ssh.key)
    const publicKey = parseSshPublicKeyLine(readFileSync(home.files.ssh.publicKey, 'utf8').trim())
    if (!found.certificate.subject.key.equals(publicKey.key)) {
      return fail(name, 'it is not for the key beside it', renew)
    }
    const leftMs = found.expiresAtMs - clock.wallMs()
    if (leftMs <= 0) return fail(name, `ended ${formatDuration(-leftMs)} ago`, renew)
    if (leftMs < soonMs) return warn(name, `ends in ${formatDuration(leftMs)}`, renew)
    return ok(name, `ends in ${formatDuration(leftMs)}`)
  } catch (error) {
    return failed(name, error, renew)
  }
}

async function checkVersion(run: Run, program: string): Promise<Check> {
  const { stderr } = await run('-V')
  const version = /OpenSSH\D*(\d+\.\d+)\S*/.exec(stderr)
  if (version === null) return warn('ssh', `${program} is no OpenSSH`, install)
  const number = Number(version[1])
  if (number < versionMin) return fail('ssh', `${version[0]} is too old`, install)
  return number < versionGood
    ? warn('ssh', `${version[0]} is old`, install)
    : ok('ssh', `${version[0].replace(/,$/, '')} at ${program}`)
}

/** What ssh would do for a host of ours, in its own words. */
async function checkUserConfig(
  run: Run,
  { config, files }: Home,
  environment: NodeJS.ProcessEnv,
): Promise<Check> {
  const name = 'ssh-config'
  const mend = 'sally ssh-config --write (sally connect works without)'
  const file = userConfigFile(environment)
  if (!existsSync(file)) return warn(name, `there is no ${file}`, mend)
  const { stdout, stderr } = await run('-G', '-F', file, `sally-doctor.${config.domain}`)
  const said = stdout.split('\n')
  if (said.length < 2) return fail(name, `ssh cannot read ${file}: ${lastLine(stderr)}`, mend)
  const identity = said.find((line) => line.startsWith('identityfile '))?.slice(13)
  return identity === files.ssh.key && said.includes(`proxyjump ${config.domain}`)
    ? ok(name, `${file} leads *.${config.domain} through the proxy`)
    : warn(name, `${file} does not lead *.${config.domain} through the proxy with this home`, mend)
}

async function checkAgent({ files }: Home, environment: NodeJS.ProcessEnv): Promise<Check[]> {
  const agent = findAgent(environment)
  if (agent === undefined) return []
  const name = 'SSH agent'
  try {
    return [
      (await agent.holds(files))
        ? ok(name, 'has the key and its certificate')
        : ok(name, 'does not have the key; ssh finds it in the home (sally login --agent)'),
    ]
  } catch (error) {
    return [{ ...failed(name, error, ''), state: 'warn' }]
  }
}

/** A whole sign-in, which ends where a resource would begin. */
async function checkSshProxy(run: Run, home: Home, isSignedIn: boolean): Promise<Check> {
  const name = 'SSH proxy'
  const { config, files } = home
  try {
    writeClientConfig(home)
    const { stderr } = await run(
      ...['-F', files.ssh.config, '-n', '-T', '-o', 'BatchMode=yes', '-o', 'LogLevel=VERBOSE'],
      ...['-o', 'ControlPath=none', '-o', `ConnectTimeout=${answerSeconds}`, config.domain, 'true'],
    )
    const at = `${config.proxyHost ?? config.domain}:${config.proxyPorts.ssh ?? ''}`
    const good = `${at} answers, and its host certificate is for ${config.domain}`
    if (/^Authenticated to /m.test(stderr)) return ok(name, `${good}; it knows you`)
    if (stderr.includes('Host key verification failed')) {
      return fail(
        name,
        `${at} shows a host key that our authority has not certified`,
        'sally ssh-config --write learns the authorities anew; if it stays, somebody stands in between',
      )
    }
    if (stderr.includes('Permission denied')) {
      return isSignedIn
        ? fail(name, `${good}; but it does not let you in`, signInHint)
        : ok(name, good)
    }
    return fail(
      name,
      `${at}: ${lastLine(stderr) || 'no answer in time'}`,
      `is the proxy running, and are proxyHost and proxyPorts right in ${files.config}?`,
    )
  } catch (error) {
    return failed(name, error, `look at ${files.config}`)
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? ''
}
