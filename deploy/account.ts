import { accessSync, constants, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** A user of this system, as processes know it. */
export interface Account {
  readonly uid: number
  readonly gid: number
}

/** Whether an account (undefined: we) may enter a directory, with every one above it, or read a file in one. */
export function mayReach(path: string, account: Account | undefined): boolean {
  if (account === undefined) {
    try {
      accessSync(path, constants.R_OK)
      return true
    } catch {
      return false
    }
  }
  for (let at = path; ; at = dirname(at)) {
    const { mode, uid, gid } = statSync(at)
    const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0
    if (((mode >> shift) & 1) === 0) return false
    if (at === dirname(at)) return true
  }
}
