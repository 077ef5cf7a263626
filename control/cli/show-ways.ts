import { formatDuration } from '../api/duration.ts'
import type { Why } from '../api/request.ts'
import type { Cli } from './cli.ts'
import { approvalText } from './request-words.ts'
import type { Cell } from './table.ts'

/** What the flows would let a person ask for, one line each. */
export function showWays(cli: Cli, ways: Why['ways']): string {
  return cli.table(
    [
      { header: 'LEVEL' },
      { header: 'APPROVAL', shrinks: true },
      { header: 'LONGEST' },
      { header: 'USUALLY' },
      { header: 'REASON' },
      { header: 'FLOW', shrinks: true },
    ],
    ways.map((way): Cell[] => [
      way.level,
      way.approvalsNeeded === 0
        ? { text: 'automatic', style: 'green' }
        : approvalText(way.approvalsNeeded, way.approvers),
      formatDuration(way.longestMs),
      formatDuration(way.defaultMs),
      way.reasonRequired ? 'required' : '',
      way.flow,
    ]),
  )
}
