import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** A program that the tests run, and the Debian package that has it. */
export interface Program {
  readonly command: string
  readonly packageName: string
  /** With which it only says that it is there. Default: `--version`. */
  readonly parameters?: readonly string[]
}

/** Real clients and peers. (`pgbench` is packaged with the server, which the tests themselves do not use.) */
export const programs: readonly Program[] = [
  { command: 'psql', packageName: 'postgresql-client' },
  { command: 'pg_dump', packageName: 'postgresql-client' },
  { command: 'pgbench', packageName: 'postgresql' },
  { command: 'pgbouncer', packageName: 'pgbouncer' },
  { command: 'openssl', packageName: 'openssl', parameters: ['version'] },
  { command: 'g++', packageName: 'g++' },
  { command: 'javac', packageName: 'default-jdk-headless' },
  {
    command: 'javap',
    packageName: 'libpostgresql-jdbc-java',
    parameters: ['-cp', '/usr/share/java/postgresql.jar', 'org.postgresql.Driver'],
  },
  {
    command: '/usr/bin/python3',
    packageName: 'python3-psycopg2',
    parameters: ['-c', 'import psycopg2'],
  },
]

type Runs = (command: string, parameters: readonly string[]) => boolean

/** The packages of those programs that do not run here. */
export function missingPackages(runs: Runs = runsHere): string[] {
  const missing = programs.filter(
    ({ command, parameters = ['--version'] }) => !runs(command, parameters),
  )
  return [...new Set(missing.map((program) => program.packageName))]
}

/**
 * Started, not looked up: /usr/bin/pgbench is a wrapper that is there also when what it wraps is not. Debian keeps pgbouncer
 * in /usr/sbin, which is not on everybody's path.
 */
function runsHere(command: string, parameters: readonly string[]): boolean {
  const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin`
  return spawnSync(command, [...parameters], { env: { ...process.env, PATH } }).status === 0
}

/** What to tell somebody who has to install them by hand. */
export function installCommand(packages: readonly string[]): string {
  return `sudo apt-get update && sudo apt-get install --no-install-recommends ${packages.join(' ')}`
}

/** Whether this process may install packages itself. */
export function canInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
}

/**
 * Installs Debian packages, and neither makes a database cluster nor starts a service: the tests bring their own. True if
 * apt-get succeeded.
 */
export function installPackages(packages: readonly string[]): boolean {
  const removeFiles = [
    // Read by the script that would make a cluster after the installation (pg_createcluster(1)).
    placeFile(
      '/etc/postgresql-common/createcluster.d/sallyport.conf',
      'create_main_cluster = false\n',
      0o644,
    ),
    // 101 means: do not start services (invoke-rc.d(8)).
    placeFile('/usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', 0o755),
  ]
  try {
    return aptGet('update') && aptGet('install', '--yes', '--no-install-recommends', ...packages)
  } finally {
    for (const remove of removeFiles) remove()
  }
}

function aptGet(...parameters: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  return spawnSync('apt-get', parameters, { env, stdio: 'inherit' }).status === 0
}

/** Writes a file unless one is there, and returns what takes it away again. */
function placeFile(path: string, content: string, mode: number): () => void {
  if (existsSync(path)) return () => undefined
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content, { mode })
  return () => rmSync(path)
}
