/** A real proxy at a real control: that apps find its key where they look for it, as soon as control is there. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { completeConfig } from '../../proxy/config.ts'
import { loadAssertionKeys } from '../../proxy/identity/assertion-keys.ts'
import { startProxy, type RunningProxy } from '../../proxy/start-proxy.ts'
import { eventually } from '../demo-site.ts'
import { silentLog } from '../fakes/proxy-world.ts'
import { startTestControl, type RunningSite } from './running-control.ts'

let site: RunningSite
let directory: string
let proxy: RunningProxy

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'apps-proxy-'))
  site = await startTestControl()
  const { token } = await site.admin.call('joinToken', { params: { name: 'default' } })
  const joinTokenFile = join(directory, 'join')
  writeFileSync(joinTokenFile, token, { mode: 0o600 })
  proxy = await startProxy({
    config: completeConfig({
      ...{ dataDir: join(directory, 'data'), controlUrl: site.running.url, joinTokenFile },
      listen: { http: '127.0.0.1:0' },
    }),
    log: silentLog,
  })
})
afterAll(async () => {
  await proxy?.stop(0)
  await site?.close()
  rmSync(directory, { recursive: true, force: true })
})

test('the key with which a proxy signs is published', async () => {
  const { kid, publicKey } = loadAssertionKeys(join(directory, 'data'))
  const keys = await eventually(
    async () => {
      const { body } = await site.ask({}, 'GET', '/.well-known/jwks.json')
      return body['keys'] as unknown[]
    },
    ({ length }) => length > 0,
  )
  expect(keys).toEqual([{ ...publicKey, kid, use: 'sig', alg: 'ES256' }])
})
