import { readFileSync } from 'node:fs'
import { readPrivateFile } from '../../protocols/kit/private-file.ts'
import { createApiClient, type ApiClient } from '../api/client.ts'
import type { Cli } from './cli.ts'
import { readHome, type Home } from './home.ts'
import { startProgress, type Progress } from './progress.ts'

export interface ApiWork {
  readonly api: ApiClient
  readonly home: Home
  readonly progress: Progress
}

/** Opens the home's connection to control, runs `work` with it, and closes it whatever happens. */
export async function withApi<T>(
  cli: Cli,
  work: (apiWork: ApiWork) => Promise<T>,
  options: { timeoutMs?: number } = {},
): Promise<T> {
  const home = readHome(cli.environment)
  const api = openApi(home, options)
  const progress = startProgress(cli, 'asking control')
  try {
    return await work({ api, home, progress })
  } finally {
    progress.end()
    api.close()
  }
}

export function openApi(home: Home, options: { timeoutMs?: number } = {}): ApiClient {
  return createApiClient({
    baseUrl: home.config.controlUrl,
    authorityPem: readFileSync(home.files.controlAuthority, 'utf8'),
    certificatePem: readFileSync(home.files.certificate, 'utf8'),
    privateKeyPem: readPrivateFile(home.files.key).toString('utf8'),
    ...options,
  })
}
