/** Debian's own PostgreSQL, for clients that refuse a newer server than themselves (pg_dump). */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../deploy/ports.ts'

const versions = '/usr/lib/postgresql'

/** Without TLS; the superuser is `owner`, its password `secret`. */
export async function startDebianPostgres(
  owner: string,
  secret: string,
): Promise<{ port: number; stop(): void }> {
  const newest = readdirSync(versions).sort((a, b) => Number(b) - Number(a))[0]
  if (newest === undefined) throw new Error('apt-get install postgresql')
  const bin = join(versions, newest, 'bin')
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-debian-pg-'))
  const isRoot = process.getuid?.() === 0
  const run = (command: string, ...args: string[]): void => {
    const [program, first] = isRoot
      ? ['runuser', ['-u', 'postgres', '--', join(bin, command)]]
      : [join(bin, command), []]
    execFileSync(program, [...first, ...args], { stdio: 'ignore', cwd: '/' })
  }
  const password = join(directory, 'password')
  writeFileSync(password, secret)
  if (isRoot) execFileSync('chown', ['-R', 'postgres', directory])
  chmodSync(directory, 0o700)
  const data = join(directory, 'data')
  run(
    'initdb',
    '-D',
    data,
    '-U',
    owner,
    '-A',
    'scram-sha-256',
    '--pwfile',
    password,
    ...['--no-sync', '--encoding=UTF8', '--locale=C'],
  )
  const port = await freePort()
  const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off`
  run('pg_ctl', '-D', data, '-w', '-l', join(directory, 'log'), '-o', settings, 'start')
  return {
    port,
    stop() {
      run('pg_ctl', '-D', data, '-m', 'immediate', 'stop')
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
