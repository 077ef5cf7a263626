/** ~/.ssh/config gets one line, at its beginning: what is in the file keeps its meaning, byte for byte. */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { writePrivateFile } from '../../../protocols/kit/private-file.ts'
import { quote } from './client-config.ts'

const fileBytesMax = 4 * 1024 * 1024

export function userConfigFile(environment: NodeJS.ProcessEnv): string {
  return resolve(environment['HOME'] || homedir(), '.ssh', 'config')
}

/** The line that has ssh read our file, whichever host is asked for. */
export function includeLine(ours: string): string {
  return `Include ${quote(ours)}`
}

/** Whether the file includes ours where it counts: before the first Host or Match, of which it would be a part. */
export function includes(content: string, ours: string): boolean {
  for (const line of content.split('\n')) {
    const [, keyword = '', rest = ''] = /^\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line) ?? []
    if (/^(?:host|match)$/i.test(keyword)) return false
    if (!/^include$/i.test(keyword)) continue
    const named = [...rest.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare)
    if (named.includes(ours)) return true
  }
  return false
}

/**
 * Adds the line if it is not there; true if it was added. Whole or not at all; where the file is a link, what it points to.
 * Throws `config-invalid` for what cannot be changed without harm.
 */
export function addInclude(file: string, ours: string): boolean {
  try {
    return add(file, ours)
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw refused(file, ours, (error as Error).message, error)
  }
}

function add(file: string, ours: string): boolean {
  const directory = dirname(file)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const line = includeLine(ours)
  const text = (newline: string): string =>
    [`# Sallyport (sally ssh-config); it has to stay above every Host.`, line, ''].join(newline)
  if (lstatSync(file, { throwIfNoEntry: false }) === undefined) {
    writePrivateFile(join(realpathSync(directory), 'config'), text('\n'))
    return true
  }
  const path = realpathSync(file)
  const status = statSync(path)
  if (!status.isFile()) throw refused(file, ours, 'it is not a plain file')
  if (status.size > fileBytesMax) throw refused(file, ours, 'it is too large')
  const before = readFileSync(path)
  const content = before.toString('latin1')
  if (includes(content, ours)) return false
  const newline = /\r\n/.test(content) ? '\r\n' : '\n'
  const gap = content === '' ? '' : newline
  writePrivateFile(path, Buffer.concat([Buffer.from(text(newline) + gap), before]))
  if (process.getuid?.() === 0) chownSync(path, status.uid, status.gid)
  chmodSync(path, status.mode & 0o777)
  return true
}

function refused(file: string, ours: string, why: string, cause?: unknown): SallyportError {
  return new SallyportError('config-invalid', `${file}: ${why}`, {
    clientMessage: `${file} was left alone: ${why}`,
    hint: `put this line at its beginning yourself: ${includeLine(ours)}`,
    cause,
  })
}
