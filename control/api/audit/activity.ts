/** The words of activities for the rest of control, which reads what engines wrote but knows no protocol. */
export {
  activityKinds,
  decodeActivity,
  outcomeStatuses,
  type ActivityKind,
  type ActivityParameter,
  type DecodedActivity,
} from '../../../protocols/activity.ts'
