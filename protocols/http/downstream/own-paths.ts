import { appFinishPath } from '../../kit/app-finish-path.ts'

/** Paths of ours at an app's host. */
export const ownPaths = {
  finish: appFinishPath,
  open: '/.sallyport/open',
  signOut: '/.sallyport/sign-out',
  events: '/.sallyport/events',
} as const

/** Whether a path is ours, in any spelling that an app could read so. */
export function isOwnPath(path: string): boolean {
  return /^\/+(?:\.|%2e)sallyport(?:[/;%]|$)/i.test(path)
}
