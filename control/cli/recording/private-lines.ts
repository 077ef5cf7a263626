import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { SallyportError } from '../../../protocols/kit/errors.ts'

/** A file of lines (0600) that has its name only once it is whole. */
export interface PrivateLines {
  write(line: string): void
  finish(): void
  abandon(): void
}

const bufferedMax = 256 * 1024

/** Throws `usage` where it cannot be written. */
export function openPrivateLines(path: string): PrivateLines {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.partial`
  const attempt = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      const clientMessage = `${path} cannot be written: ${why}`
      throw new SallyportError('usage', why, { clientMessage, cause: error })
    }
  }
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants
  const flags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW
  const descriptor = attempt(() => openSync(temporary, flags, 0o600))
  let buffered = ''
  const flush = (): void => {
    const bytes = Buffer.from(buffered)
    buffered = ''
    attempt(() => {
      for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at)
    })
  }
  return {
    write(line) {
      buffered += `${line}\n`
      if (buffered.length >= bufferedMax) flush()
    },
    finish() {
      flush()
      attempt(() => {
        fsyncSync(descriptor)
        closeSync(descriptor)
        renameSync(temporary, path)
      })
    },
    abandon() {
      try {
        closeSync(descriptor)
      } catch {
        // Closed already.
      }
      try {
        unlinkSync(temporary)
      } catch {
        // Renamed already, or never there.
      }
    },
  }
}
