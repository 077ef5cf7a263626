/** Debian packages for the demo, the tests and the benchmarks: real servers and clients. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** What to tell somebody who has to install them by hand. */
export function installCommand(packages: readonly string[]): string {
  return `sudo apt-get update && sudo apt-get install --no-install-recommends ${packages.join(' ')}`
}

/** Whether this process may install packages itself. */
export function canInstall(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
}

/**
 * Installs Debian packages, and neither makes a database cluster nor starts a service: ours are brought along. True if apt-get
 * succeeded, each time within `msMax`.
 */
export function installPackages(
  packages: readonly string[],
  options: { readonly quiet?: boolean; readonly msMax?: number } = {},
): boolean {
  const { quiet = false, msMax } = options
  const aptGet = (...parameters: string[]): boolean =>
    spawnSync('apt-get', parameters, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: quiet ? 'ignore' : 'inherit',
      timeout: msMax,
    }).status === 0
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

/** Writes a file unless one is there, and returns what takes it away again. */
function placeFile(path: string, content: string, mode: number): () => void {
  if (existsSync(path)) return () => undefined
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content, { mode })
  return () => rmSync(path)
}
