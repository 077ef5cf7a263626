import { placeFor } from '../place.ts'
import { postgresAccount } from './account.ts'

/** Where a cluster of `directory` lives, so that the account that runs PostgreSQL may enter it. */
export function clusterPlace(directory: string): string {
  return placeFor(directory, 'postgres', postgresAccount())
}
