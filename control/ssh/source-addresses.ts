import { networkInterfaces } from 'node:os'
import { plainAddress } from '../../certs/source-address.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'

const addressesMax = 32

/**
 * From where servers see a proxy come that control sees at `address`. One on the same machine comes to others from any of the
 * machine's own addresses. Throws `access-denied` for what is no address.
 */
export function sourceAddressesOf(
  address: string,
  own: () => readonly string[] = ownAddresses,
): string[] {
  const plain = plainAddress(address)
  if (plain === undefined) {
    throw new SallyportError('access-denied', `${JSON.stringify(address)} is no address`)
  }
  if (plain !== '::1' && !plain.startsWith('127.')) return [plain]
  return [...new Set([plain, '127.0.0.1', '::1', ...own()])].slice(0, addressesMax)
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses
      .filter(({ internal, scopeid }) => !internal && (scopeid ?? 0) === 0)
      .map(({ address }) => address),
  )
}
