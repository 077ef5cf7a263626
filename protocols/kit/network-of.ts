import { isIPv6 } from 'node:net'

/** One household has a whole /64 of IPv6 (RFC 6177): count it as one. */
export function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const groups = new URL(`http://[${address.split('%')[0]}]`).hostname.slice(1, -1).split('::')
  const head = groups[0]!.split(':').filter((group) => group !== '')
  const tail = (groups[1] ?? '').split(':').filter((group) => group !== '')
  const missing = 8 - head.length - tail.length
  const zeros = groups.length === 1 ? [] : Array.from({ length: missing }, () => '0')
  return `${[...head, ...zeros, ...tail].slice(0, 4).join(':')}::/64`
}
