import { appFinishPath } from '../../protocols/kit/app-finish-path.ts'

export interface AppPlace {
  readonly resource: string
  readonly domain: string
  readonly port: number
}

/** The origin of an app; `resource` and `domain` must be names that control knows, never what somebody sent. */
export function appOrigin({ resource, domain, port }: AppPlace): string {
  return `https://${resource}.${domain}${port === 443 ? '' : `:${port}`}`
}

/** Where a browser goes with its code; `challenge` tells its visit from others it may have. */
export function finishUrl(place: AppPlace, code: string, challenge: string): string {
  return `${appOrigin(place)}${appFinishPath}?code=${code}&visit=${challenge.slice(0, 8)}`
}
