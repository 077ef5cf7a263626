/** What engines wrote, for the rest of control, which knows no protocols: only this folder imports theirs. */
export {
  activityKinds,
  decodeActivity,
  outcomeStatuses,
  protocolNames,
  type ActivityKind,
  type ActivityParameter,
  type DecodedActivity,
} from '../../protocols/activity.ts'
