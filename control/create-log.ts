import { pino, type DestinationStream } from 'pino'
import type { ControlLog } from './control.ts'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Names that never appear in a line, wherever they are. */
const secretNames = [
  ...['password', 'passphrase', 'secret', 'token', 'credential', 'authorization', 'cookie'],
  ...['privateKey', 'privateKeyPem', 'sealingKey', 'databaseUrl', 'payload', 'details'],
  ...['text', 'statement', 'query', 'parameters'],
]

/** Structured lines on standard output (or `destination`); what could be a secret is struck out. */
export function createLog(level: LogLevel, destination?: DestinationStream): ControlLog {
  const options = {
    level,
    base: { service: 'sallyport-control' },
    redact: {
      paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      censor: '[redacted]',
    },
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}
