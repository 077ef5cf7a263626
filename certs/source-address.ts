import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'
import { ByteReader } from '../protocols/kit/byte-reader.ts'
import { readSshString, requireSshEnd } from '../protocols/kit/ssh-wire.ts'

/** Everything that OpenSSH takes in a `source-address` option is shorter. */
const listCharactersMax = 2_048

/**
 * Whether an address is in a list as in the `source-address` option of OpenSSH certificates: addresses and CIDR blocks, separated by
 * commas. False for a list with anything else in it.
 */
export function isAddressAmong(list: string, address: string): boolean {
  const plain = plainAddress(address)
  if (plain === undefined || list.length > listCharactersMax) return false
  const blocks = new BlockList()
  for (const entry of list.split(',')) {
    const [, network, bits] = /^([0-9a-f:.]{2,45})(?:\/(\d{1,3}))?$/i.exec(entry) ?? []
    const width = network === undefined ? 0 : isIPv4(network) ? 32 : isIPv6(network) ? 128 : 0
    const prefix = bits === undefined ? width : Number(bits)
    if (network === undefined || width === 0 || prefix > width) return false
    blocks.addSubnet(network, prefix, width === 32 ? 'ipv4' : 'ipv6')
  }
  return blocks.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
}

/** The same for the option's value as it stands in a certificate. False also for one that cannot be read. */
export function isAddressListed(value: Buffer, address: string): boolean {
  try {
    const reader = new ByteReader(value)
    const list = readSshString(reader, value.length).toString('latin1')
    requireSshEnd(reader)
    return isAddressAmong(list, address)
  } catch {
    return false
  }
}

/** An IPv4 address that came in IPv6's clothes (RFC 4291, 2.5.5.2), and one without its zone; undefined for what is no address. */
export function plainAddress(address: string): string | undefined {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  return isIP(bare) === 0 ? undefined : bare
}
