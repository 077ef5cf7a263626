import { randomUUID, X509Certificate } from 'node:crypto'
import type { z } from 'zod'
import { issueProxyCertificate } from '../../certs/issue-proxy.ts'
import { issueServerCertificate } from '../../certs/issue-server.ts'
import type { proxyJoin, ProxyJoined, proxyRenew } from '../api/shapes.ts'
import { appendControlAction } from '../chain/append-action.ts'
import { nowMs, type Actor, type Control } from '../control.ts'
import { notAllowed } from '../refusals.ts'
import type { Sql } from '../store/store.ts'
import { redeemJoinToken } from './join-token.ts'
import { keepProxyKey } from './proxy-keys.ts'

/** Trades a join token for a proxy's identity. Rejects with `join-token-invalid` or `request-invalid`; then the token stays good. */
export async function joinProxy(
  control: Control,
  remoteAddress: string,
  ask: z.output<typeof proxyJoin>,
): Promise<ProxyJoined> {
  const { realm } = control
  const id = randomUUID()
  const joined = await control.state.transaction(async (sql) => {
    const group = await redeemJoinToken(sql, control, ask.token, id)
    await sql.query(
      `insert into proxies (realm, id, group_name, name, joined_at_ms)
       values ($1, $2, $3, $4, $5)`,
      [realm, id, group, ask.name, nowMs(control.clock)],
    )
    const proxy = { id, name: ask.name, group }
    return issueFor(sql, control, proxy, 'proxy.joined', remoteAddress, ask)
  })
  control.log.info({ proxyId: id, group: joined.group, remoteAddress }, 'a proxy joined')
  return joined
}

/** New certificates for a proxy that has some. Rejects with `not-allowed` if it was revoked meanwhile. */
export async function renewProxy(
  control: Control,
  proxy: { id: string; name: string; group: string },
  remoteAddress: string,
  ask: z.output<typeof proxyRenew>,
): Promise<ProxyJoined> {
  return control.state.transaction(async (sql) => {
    // Held to the commit: a revocation comes before this, or after it and then finds these certificates.
    const live = await sql.query(
      'select 1 from proxies where realm = $1 and id = $2 and revoked_at_ms is null for share',
      [control.realm, proxy.id],
    )
    if (live.length === 0) throw notAllowed('this proxy was revoked', 'join it again')
    return issueFor(sql, control, proxy, 'proxy.renewed', remoteAddress, ask)
  })
}

async function issueFor(
  sql: Sql,
  control: Control,
  proxy: { id: string; name: string; group: string },
  action: 'proxy.joined' | 'proxy.renewed',
  remoteAddress: string,
  requests: z.output<typeof proxyRenew>,
): Promise<ProxyJoined> {
  const { realm, demo, clock, keys, settings } = control
  const [group] = await sql.query<{ domain: string }>(
    'select domain from proxy_groups where realm = $1 and name = $2',
    [realm, proxy.group],
  )
  const domain = group!.domain
  const shared = { validForMs: settings.proxyCertificateMs, clock, demo }
  const client = await issueProxyCertificate(keys.authorities.proxies, {
    ...shared,
    requestPem: requests.clientRequestPem,
    realm,
    proxyId: proxy.id,
  })
  const server = await issueServerCertificate(keys.authorities.proxies, {
    ...shared,
    requestPem: requests.serverRequestPem,
    dnsNames: [`*.${domain}`, domain],
  })
  await sql.query(
    `insert into certificates (realm, serial, kind, holder_id, issued_at_ms, expires_at_ms)
     values ($1, $2, 'proxy', $3, $4, $5)`,
    [realm, client.serial, proxy.id, client.notBeforeMs, client.expiresAtMs],
  )
  const { publicKey } = new X509Certificate(client.certificatePem)
  await keepProxyKey(sql, realm, { certificateSerial: client.serial, publicKey })
  const actor: Actor = { id: proxy.id, email: `proxy ${proxy.name}`, remoteAddress }
  await appendControlAction(sql, control.chain, actor, {
    action,
    target: proxy.id,
    details: {
      group: proxy.group,
      clientSerial: client.serial,
      serverSerial: server.serial,
      expiresAtMs: client.expiresAtMs,
    },
  })
  return {
    proxyId: proxy.id,
    realm,
    group: proxy.group,
    domain,
    clientCertificatePem: client.certificatePem,
    serverCertificatePem: server.certificatePem,
    controlAuthorityPem: keys.authoritiesPem.control.join(''),
    peopleAuthoritiesPem: keys.authoritiesPem.people.join(''),
    demo,
  }
}
