import { spawnSync } from 'node:child_process'

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
  // It says nothing without starting.
  { command: 'test', packageName: 'openssh-server', parameters: ['-x', '/usr/sbin/sshd'] },
  { command: 'ssh', packageName: 'openssh-client', parameters: ['-V'] },
  { command: 'curl', packageName: 'curl' },
  { command: 'chromium', packageName: 'chromium' },
  { command: 'sh', packageName: 'libnss3-tools', parameters: ['-c', 'command -v certutil'] },
  { command: 'nginx', packageName: 'nginx-light', parameters: ['-v'] },
  { command: 'h2load', packageName: 'nghttp2-client' },
  { command: 'rsync', packageName: 'rsync' },
  { command: 'git', packageName: 'git' },
  { command: 'vim.tiny', packageName: 'vim-tiny' },
  { command: 'ansible', packageName: 'ansible-core' },
  { command: 'ssh-audit', packageName: 'ssh-audit', parameters: ['--help'] },
  {
    command: 'sh',
    packageName: 'libnss-wrapper',
    parameters: ['-c', 'ls /usr/lib/*/libnss_wrapper.so'],
  },
  {
    command: '/usr/bin/python3',
    packageName: 'python3-psycopg2',
    parameters: ['-c', 'import psycopg2'],
  },
  {
    command: '/usr/bin/python3',
    packageName: 'python3-jwt',
    parameters: ['-c', 'import jwt'],
  },
  {
    command: '/usr/bin/python3',
    packageName: 'python3-cryptography',
    parameters: ['-c', 'import cryptography'],
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
