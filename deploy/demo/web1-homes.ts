/** What there is to see on web1: two homes, a site that `operator` may change, and a log that only grows. */
import { appendFileSync, chmodSync, chownSync, existsSync, mkdirSync, renameSync } from 'node:fs'
import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock, Timer } from '../../protocols/kit/clock.ts'
import type { SshdAccount } from '../ssh/sshd.ts'

/** A line is added so often. */
export const accessLineMs = 3_000
const logBytesMax = 1024 * 1024
export const siteConf = 'listen 80\nworkers 4\nmaintenance off\n'
const paths = ['/', '/cart', '/products/17', '/products/4', '/checkout', '/healthz']

/** Where the homes of accounts are, below a directory that the accounts can enter. */
export function homeOf(directory: string, name: string): string {
  return join(directory, 'homes', name)
}

/**
 * Makes what is not there. Root never writes where an account may: a home is filled aside, before it is given away, and what was given
 * away is not touched again.
 */
export function fillHomes(directory: string, accounts: readonly SshdAccount[]): void {
  const site = join(directory, 'site')
  mkdirSync(join(directory, 'homes'), { recursive: true, mode: 0o711 })
  mkdirSync(join(site, 'logs'), { recursive: true, mode: 0o755 })
  for (const account of accounts) {
    const home = homeOf(directory, account.name)
    if (existsSync(home)) continue
    const temporary = `${home}.new`
    rmSync(temporary, { recursive: true, force: true })
    mkdirSync(temporary, { mode: 0o700 })
    write(join(temporary, 'README'), readmeOf(account.name, account.name === 'operator'), 0o644)
    symlinkSync(site, join(temporary, 'site'))
    give(join(temporary, 'README'), account)
    give(temporary, account)
    renameSync(temporary, home)
  }
  const conf = join(site, 'site.conf')
  if (existsSync(conf)) return
  write(conf, siteConf, 0o644)
  const operator = accounts.at(-1)
  if (operator !== undefined) give(conf, operator)
}

/** A line in the access log every few seconds; it begins anew when it is long. The result ends it. */
export function growLog(directory: string, clock: Clock): Timer {
  const file = join(directory, 'site', 'logs', 'access.log')
  let lines = 0
  let timer: Timer
  const grow = (): void => {
    const bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0
    if (bytes > logBytesMax) writeFileSync(file, '')
    appendFileSync(file, `${accessLine(lines++, clock)}\n`)
    timer = clock.startTimer(accessLineMs, grow)
  }
  grow()
  return { cancel: () => timer.cancel() }
}

/** A line of it. */
export function accessLine(number: number, clock: Clock): string {
  const at = new Date(clock.wallMs()).toISOString()
  return `${at} GET ${paths[number % paths.length]} 200 ${((number + 1) * 7_919) % 9_000}`
}

export function readmeOf(name: string, mayChange: boolean): string {
  const may = mayChange ? 'may also change site/site.conf' : 'may look at everything'
  return `This is web1 of the Sallyport demo, and you are ${name}, who ${may}.

  site/site.conf         what the site runs with
  site/logs/access.log   what it does: tail -f site/logs/access.log

What you do here is recorded: sally sessions, sally replay.
`
}

/** Whatever the umask says. */
function write(file: string, text: string, mode: number): void {
  writeFileSync(file, text)
  chmodSync(file, mode)
}

function give(path: string, { uid, gid }: SshdAccount): void {
  if (process.getuid?.() === 0) chownSync(path, uid, gid)
}
