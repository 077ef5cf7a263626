import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ApiClient } from '../../control/api/client.ts'
import { sealedSecretsIn, writeSealedSecrets } from '../../control/api/sealed-secrets.ts'
import type { Level } from '../../protocols/session.ts'
import type { Cluster } from '../postgres/cluster.ts'
import { accounts, shopDatabase } from './shop.ts'
import { web1Resource, web1Rule, type Web1 } from './web1.ts'
import { wikiResource, wikiRule, wikiSecrets, type Wiki } from './wiki.ts'

export const resourceName = 'orders-db'
/** What there is besides the database. */
export interface DemoPlaces {
  readonly web1: Web1
  readonly wiki: Wiki
}

const secretPath = (level: Level): string => `${resourceName}/${level}`

/** What only the proxy knows: the passwords, sealed, the policy that says where they may be used, its limits. */
export function bindSecrets(
  proxyDirectory: string,
  cluster: Cluster,
  passwords: ReadonlyMap<Level, string>,
  { web1, wiki }: DemoPlaces,
): void {
  const { file, keyFile } = sealedSecretsIn(proxyDirectory)
  const secrets = new Map([
    ...[...passwords].map(([level, text]) => [secretPath(level), text] as const),
    ...wikiSecrets(wiki),
  ])
  writeSealedSecrets(file, keyFile, secrets)
  writeFileSync(join(proxyDirectory, 'orders-db-ca.pem'), cluster.authorityPem, { mode: 0o600 })
  const policy = `# The proxy's own policy: which secret may be used where. Control cannot change it.
secrets:
  - reference: "sealed:${resourceName}/*"
    addresses: ["127.0.0.1:${cluster.port}"]
    serverName: ${cluster.serverName}
    tls: verify-full
    caFile: orders-db-ca.pem
    levels: [${Object.keys(accounts).join(', ')}]
${wikiRule(wiki)}${web1Rule(web1)}`
  writeFileSync(join(proxyDirectory, 'policy.yaml'), policy, { mode: 0o600 })
  // Who stops a demo does not want to wait for the psql that is still open in another window.
  const configuration = 'limits: { drainMs: 1000 }\n'
  writeFileSync(join(proxyDirectory, 'proxy.yaml'), configuration, { mode: 0o600 })
}

/** Tells control about the resources: addresses and accounts, and references instead of secrets. */
export async function applyResources(
  api: ApiClient,
  cluster: Cluster,
  { web1, wiki }: DemoPlaces,
): Promise<void> {
  const levels = Object.fromEntries(
    Object.entries(accounts).map(([level, account]) => [
      level,
      { account, secret: `sealed:${secretPath(level as Level)}` },
    ]),
  )
  await api.call('resourcesApply', {
    body: {
      file: {
        resources: [
          {
            name: resourceName,
            protocol: 'postgres',
            address: { host: '127.0.0.1', port: cluster.port },
            tls: { mode: 'verify-full', serverName: cluster.serverName },
            levels,
            tags: { environment: 'demo', data: 'personal', database: shopDatabase },
            owner: 'shop-team@example.test',
            description: 'Orders, customers and payments of the shop (database: shop)',
          },
          wikiResource(wiki),
          web1Resource(web1),
        ],
      },
    },
  })
}
