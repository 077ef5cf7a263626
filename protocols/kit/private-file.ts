/**
 * Files that only their owner may read. Writing is atomic and durable: a reader, also one after a
 * power loss, sees the old content or the new, never a part. Synchronous, because these files are small
 * and read at start-up; not for the hot path.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { SallyportError } from './errors.ts'

/** Keys, certificates and small state; anything larger is not one of ours. */
const privateFileBytesMax = 16 * 1024 * 1024

/** Writes `content` with mode 0600 to `path`, replacing what is there (temporary file, fsync, rename). */
export function writePrivateFile(path: string, content: string | Buffer): void {
  const temporary = writeTemporary(path, content)
  try {
    renameSync(temporary, path)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  }
  syncDirectory(dirname(path))
}

/** Like `writePrivateFile`, but false (and nothing written) if the file exists: never two winners. */
export function createPrivateFile(path: string, content: string | Buffer): boolean {
  const temporary = writeTemporary(path, content)
  try {
    linkSync(temporary, path)
  } catch (error) {
    if (isErrorCode(error, 'EEXIST')) return false
    throw error
  } finally {
    unlinkSync(temporary)
  }
  syncDirectory(dirname(path))
  return true
}

/**
 * The bytes of a private file.
 * @throws SallyportError `config-invalid` if it is missing, not a plain file, too large, or if anybody but its owner may
 *   read or write it.
 */
export function readPrivateFile(path: string): Buffer {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw refusal(path, isErrorCode(error, 'ENOENT') ? 'does not exist' : 'cannot be read', {
      cause: error,
    })
  }
  try {
    // Looked at through the open descriptor, so that the file cannot be swapped in between.
    const status = fstatSync(file)
    if (!status.isFile()) throw refusal(path, 'is not a plain file')
    if ((status.mode & 0o077) !== 0) {
      throw refusal(path, 'may be read by others', { hint: `run: chmod 600 ${path}` })
    }
    if (status.size > privateFileBytesMax) throw refusal(path, 'is too large')
    const content = Buffer.alloc(status.size)
    let read = 0
    while (read < content.length) {
      const bytes = readSync(file, content, read, content.length - read, read)
      if (bytes === 0) throw refusal(path, 'changed while it was read')
      read += bytes
    }
    return content
  } finally {
    closeSync(file)
  }
}

function writeTemporary(path: string, content: string | Buffer): string {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = openSync(temporary, 'wx', 0o600)
  try {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    let written = 0
    while (written < bytes.length) written += writeSync(file, bytes, written)
    fsyncSync(file)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  } finally {
    closeSync(file)
  }
  return temporary
}

/** A rename survives power loss only once the directory is on disk as well. */
function syncDirectory(path: string): void {
  const directory = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

function isErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function refusal(path: string, what: string, more: { hint?: string; cause?: unknown } = {}) {
  const message = `the private file ${path} ${what}`
  return new SallyportError('config-invalid', message, { clientMessage: message, ...more })
}
