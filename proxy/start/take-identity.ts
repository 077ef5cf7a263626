import { existsSync } from 'node:fs'
import { readPrivateFile } from '../../certs/key-file.ts'
import type { Log } from '../../protocols/engine.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'
import type { ProxyConfig } from '../config.ts'
import { join } from '../identity/join.ts'
import { readIdentity, requireDemoMatch, type ProxyIdentity } from '../identity/proxy-identity.ts'

/** Who this proxy is: as it was before, or by joining. Rejects with `config-invalid` and what `join` rejects with. */
export async function takeIdentity(config: ProxyConfig, log: Log): Promise<ProxyIdentity> {
  const identity = readIdentity(config.dataDir) ?? (await joinFirst(config, log))
  requireDemoMatch(identity, config.demo)
  return identity
}

async function joinFirst(config: ProxyConfig, log: Log): Promise<ProxyIdentity> {
  const { joinTokenFile, controlUrl, name, demo, dataDir } = config
  if (joinTokenFile === undefined || !existsSync(joinTokenFile)) {
    const what = joinTokenFile === undefined ? 'no join token was given' : `no ${joinTokenFile}`
    throw new SallyportError('config-invalid', `${dataDir} has no identity and ${what}`, {
      clientMessage: `this proxy has not joined yet, and ${what}`,
      hint: 'make a token with: sally proxy join-token; pass its file with --join-token-file',
    })
  }
  const token = readPrivateFile(joinTokenFile).toString('utf8')
  const identity = await join({ controlUrl, token, name, demo, dataDir })
  log.info({ proxyId: identity.proxyId, group: identity.group }, 'joined')
  return identity
}
