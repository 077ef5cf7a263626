/** Where something listens. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** Reads `host:port` or `[::1]:port`. Throws an Error whose message is for the person. */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port < 1 || port > 65_535) {
    throw new Error(`${JSON.stringify(text)} must look like 0.0.0.0:8443 or [::]:8443`)
  }
  return { host: match[1] ?? match[2]!, port }
}
