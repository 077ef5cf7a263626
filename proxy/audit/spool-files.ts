/** The few calls by which the spool touches a disk on its hot path, as a parameter: tests make them fail. */
import { closeSync, fdatasync, fsync, open, openSync, writeSync } from 'node:fs'
import { SallyportError } from '../../protocols/kit/errors.ts'

export interface SpoolFiles {
  /** Creates a file that must not exist yet (0600); returns its descriptor. */
  create(path: string): number
  /** May write less than asked; returns how much. */
  write(file: number, bytes: Buffer, start: number, length: number): number
  dataSync(file: number, done: (error: Error | null) => void): void
  close(file: number): void
  /** Makes created and removed names durable. */
  syncDirectory(path: string, done: (error: Error | null) => void): void
}

export const systemFiles: SpoolFiles = {
  create: (path) => openSync(path, 'ax', 0o600),
  write: (file, bytes, start, length) => writeSync(file, bytes, start, length),
  dataSync: fdatasync,
  close: closeSync,
  syncDirectory(path, done) {
    open(path, 'r', (openError, directory) => {
      if (openError !== null) {
        done(openError)
        return
      }
      fsync(directory, (error) => {
        closeSync(directory)
        done(error)
      })
    })
  },
}

/** Writes all of it, in as many writes as it takes. Throws what the disk says. */
export function writeWhole(files: SpoolFiles, file: number, bytes: Buffer, length: number): void {
  let done = 0
  while (done < length) {
    const written = files.write(file, bytes, done, length - done)
    if (written <= 0) throw new Error('the disk took no bytes')
    done += written
  }
}

/** What every session is cut with once records cannot be written. */
export function unwritable(what: string, cause: unknown): SallyportError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new SallyportError(
    'audit-unwritable',
    `the audit spool cannot be written: ${what}: ${why}`,
    {
      clientMessage: 'the audit cannot be written, and nothing happens without it',
      hint: 'ask the operator of the proxy to look at its log and its disk',
      cause,
    },
  )
}

export function full(bytes: number, bytesMax: number): SallyportError {
  return new SallyportError(
    'audit-full',
    `the audit spool is full: ${bytes} of ${bytesMax} bytes wait to be shipped to control`,
    {
      clientMessage: 'the audit is full, and nothing happens without it',
      hint: 'ask the operator of the proxy whether it reaches control',
    },
  )
}
