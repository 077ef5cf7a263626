import { resolve } from 'node:path'
import { SallyportError } from '../../protocols/kit/errors.ts'

export const proxyDataOption = [
  '--proxy-data <dir>',
  'data directory of the proxy, on its machine (default: $SALLYPORT_PROXY_DATA, else ./data/proxy)',
] as const

export function proxyDataDirectory(
  asked: string | undefined,
  environment: NodeJS.ProcessEnv,
): string {
  return resolve(asked ?? environment['SALLYPORT_PROXY_DATA'] ?? 'data/proxy')
}

/** The path in the sealed file of `sealed:orders-db/read`. Throws `usage` for references to other stores. */
export function sealedPath(reference: string): string {
  const match = /^sealed:([\x21-\x7e]{1,500})$/.exec(reference)
  if (match?.[1] !== undefined) return match[1]
  const store = /^([a-z][a-z0-9-]*):/.exec(reference)?.[1]
  throw new SallyportError('usage', `not a sealed reference: ${reference}`, {
    clientMessage: `${JSON.stringify(reference)} is not a reference to a secret in the sealed file`,
    hint:
      store === 'env'
        ? 'set that variable in the environment that the proxy is started with'
        : 'write it as the resource has it: sealed:orders-db/read',
  })
}
