import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { canInstall, installPackages } from '../install-packages.ts'

export const sshdPackages = ['openssh-server', 'libnss-wrapper']
const sshdFile = '/usr/sbin/sshd'
const libraryName = 'libnss_wrapper.so'
/** Without a network apt-get would try for long. */
const installMsMax = 60_000

export interface FoundSshd {
  readonly program: string
  /** With it sshd knows accounts that this system does not have. */
  readonly nssWrapper: string | undefined
}

/** Debian's sshd; installed if it is missing and we are root. Undefined: there is none. The options are for tests. */
export function findSshd(
  announce: (line: string) => void,
  { root = '/', install = canInstall() && installQuietly } = {},
): FoundSshd | undefined {
  const program = join(root, sshdFile)
  if (install && !(runs(program) && nssWrapper(root) !== undefined)) {
    announce(`installing Debian packages: ${sshdPackages.join(', ')}`)
    install()
  }
  return runs(program) ? { program, nssWrapper: nssWrapper(root) } : undefined
}

function installQuietly(): void {
  installPackages(sshdPackages, { quiet: true, msMax: installMsMax })
}

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function nssWrapper(root: string): string | undefined {
  if (process.platform !== 'linux') return undefined
  const libraries = join(root, 'usr/lib')
  const folders = [libraries, join(root, 'usr/lib64')]
  if (existsSync(libraries)) {
    for (const name of readdirSync(libraries)) {
      if (name.endsWith('-linux-gnu')) folders.push(join(libraries, name))
    }
  }
  return folders.map((folder) => join(folder, libraryName)).find((file) => existsSync(file))
}
