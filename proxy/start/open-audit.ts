import { join } from 'node:path'
import type { Log } from '../../protocols/engine.ts'
import type { Clock } from '../../protocols/kit/clock.ts'
import { loadOrCreateSealingKey } from '../../protocols/kit/sealed-file.ts'
import { openSpool } from '../audit/open-spool.ts'
import { createShipper } from '../audit/shipper.ts'
import type { ProxyConfig } from '../config.ts'
import { createAuditStore } from '../control-link/audit-store.ts'
import type { ControlApi } from '../control-link/control-api.ts'
import { currentSigner } from '../identity/current-signer.ts'
import type { ProxyIdentity } from '../identity/proxy-identity.ts'
import { readVersion } from '../read-version.ts'
import type { Closers } from './closers.ts'

/** The spool on the disk, and what ships it to control. */
export async function openAudit({
  config,
  identity,
  controlApi,
  closers,
  clock,
  log,
}: {
  readonly config: ProxyConfig
  readonly identity: () => ProxyIdentity
  readonly controlApi: Pick<ControlApi, 'api'>
  readonly closers: Closers
  readonly clock: Clock
  readonly log: Log
}) {
  const { proxyId, realm } = identity()
  const spool = await openSpool({
    directory: join(config.dataDir, 'spool'),
    key: loadOrCreateSealingKey(join(config.dataDir, 'spool.key')),
    proxyId,
    clock,
    limits: { totalBytesMax: config.spoolBytesMax },
    version: readVersion(),
    log,
  })
  closers.push(() => spool.close('start failed'))
  const shipper = createShipper({
    outbox: spool.outbox,
    store: createAuditStore(controlApi.api),
    signer: currentSigner(identity),
    realm,
    proxyId,
    clock,
    log,
  })
  closers.push(() => shipper.close())
  return { spool, shipper }
}
