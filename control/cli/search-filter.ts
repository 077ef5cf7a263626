/** Which activities: the options that a search and an export share. */
import { Option, type Command } from 'commander'
import type { ApiClient } from '../api/client.ts'
import type { Level } from '../api/names.ts'
import type { Call } from '../api/routes.ts'
import { findSession } from './find-session.ts'
import { levelOption } from './options.ts'
import { parseMoment } from './parse-moment.ts'

export interface FilterOptions {
  person?: string
  resource?: string
  session?: string
  level?: Level
  outcome?: (typeof outcomes)[number]
  since?: string
  until?: string
}
const outcomes = ['ok', 'error', 'skipped', 'cancelled', 'unknown', 'running'] as const

export function addFilterOptions(command: Command): Command {
  return command
    .option('--person <email>', 'only of this person')
    .option('--resource <name>', 'only on this resource')
    .option('--session <id>', 'only of this session (its first characters do)')
    .addOption(levelOption('only under grants of this level'))
    .addOption(new Option('--outcome <how>', 'only what went like this').choices(outcomes))
    .option('--since <when>', 'so long ago (1h) or from a moment (2026-03-01T14:00:00Z) on')
    .option('--until <when>', 'up to a moment, in the same forms')
}

export type Filter = Omit<NonNullable<Call<'auditSearch'>['query']>, 'cursor' | 'limit' | 'order'>

/** What the options say, as the API takes it; a shortened session id is looked for. */
export async function readFilter(
  api: ApiClient,
  { person, resource, session, level, outcome, since, until }: FilterOptions,
  nowMs: number,
): Promise<Filter> {
  return {
    ...(person === undefined ? {} : { person }),
    ...(resource === undefined ? {} : { resource }),
    ...(session === undefined ? {} : { session: (await findSession(api, session, 'all')).id }),
    ...(level === undefined ? {} : { level }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(since === undefined ? {} : { since: parseMoment(since, nowMs) }),
    ...(until === undefined ? {} : { until: parseMoment(until, nowMs) }),
  }
}
