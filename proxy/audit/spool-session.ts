import { bytesOfUuid } from '../../control/api/audit/uuid.ts'
import type { Durability, SpoolSession } from './spool-types.ts'

/** What a session needs to write records. `sessionId`: UUID. */
export function createSpoolSession(sessionId: string, durability: Durability): SpoolSession {
  return { sessionId, idBytes: bytesOfUuid(sessionId), durability, batch: 0 }
}
