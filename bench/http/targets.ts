/** The ways to one app: directly, through nginx and through the proxy, all of them by TLS 1.3 with the same kind of key. */
export const targetNames = ['direct', 'nginx', 'sallyport'] as const
export type TargetName = (typeof targetNames)[number]

export interface Target {
  readonly name: TargetName
  readonly port: number
  /** What goes into SNI and Host. */
  readonly hostname: string
  readonly caPem: string
  /** How the client says who it is. */
  readonly headers: Readonly<Record<string, string>>
  /** Process in the middle; undefined where there is none. */
  pid(): number | undefined
}
