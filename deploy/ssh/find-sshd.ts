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

/** Debian's sshd; installed if it is missing and we are root. Undefined: there is none. */
export function findSshd(announce: (line: string) => void): FoundSshd | undefined {
  if (!isWhole() && canInstall()) {
    announce(`installing Debian packages: ${sshdPackages.join(', ')}`)
    installPackages(sshdPackages, { quiet: true, msMax: installMsMax })
  }
  if (!runs(sshdFile)) return undefined
  return { program: sshdFile, nssWrapper: nssWrapper() }
}

const isWhole = (): boolean => runs(sshdFile) && nssWrapper() !== undefined

function runs(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function nssWrapper(): string | undefined {
  if (process.platform !== 'linux') return undefined
  const folders = ['/usr/lib', '/usr/lib64']
  if (existsSync('/usr/lib')) {
    for (const name of readdirSync('/usr/lib')) {
      if (name.endsWith('-linux-gnu')) folders.push(join('/usr/lib', name))
    }
  }
  return folders.map((folder) => join(folder, libraryName)).find((file) => existsSync(file))
}
