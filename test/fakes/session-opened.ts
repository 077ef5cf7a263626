import type { SessionOpenedMeta } from '../../control/api/audit/format.ts'

/** What a proxy says of a session that it opened. */
export const sessionOpened: SessionOpenedMeta = {
  personId: '00000000-0000-4000-8000-000000000003',
  personEmail: 'dev@example.test',
  grantId: '00000000-0000-4000-8000-000000000004',
  grantRevision: 1,
  resource: 'orders-db',
  protocol: 'postgres',
  level: 'read',
  account: 'reader',
  upstream: '127.0.0.1:5432',
  remoteAddress: '127.0.0.1',
  certificateSerial: '1',
  attributes: {},
  retention: 'default',
  durability: 'written',
  expiresAtMs: 1,
  admittedBy: 'control',
}
