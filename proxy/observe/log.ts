import { pino, type DestinationStream } from 'pino'
import type { Log } from '../../protocols/engine.ts'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Names that never appear in a line, wherever they are: what is not known to be harmless is secret. */
const secretNames = [
  'password',
  'passphrase',
  'secret',
  'token',
  'credential',
  'authorization',
  'cookie',
  'privateKey',
  'privateKeyPem',
  'clientKeyPem',
  'serverKeyPem',
  'text',
  'statement',
  'query',
  'parameters',
]

/** Structured lines on standard output (or `destination`). Statements, parameters and secrets are struck out. */
export function createLog(level: LogLevel, destination?: DestinationStream): Log {
  const options = {
    level,
    base: { service: 'sallyport-proxy' },
    redact: {
      paths: secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
      censor: '[redacted]',
    },
  }
  return destination === undefined ? pino(options) : pino(options, destination)
}
