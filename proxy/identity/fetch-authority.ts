import { fetchPinnedAuthority as fetchAuthority } from '../../control/api/fetch-authority.ts'
import { SallyportError } from '../../protocols/kit/errors.ts'

/**
 * The authority of the control that made a join token, by the pin in the token; the join itself then trusts that authority
 * alone. Rejects with `control-unreachable` or `join-token-invalid`.
 */
export async function fetchPinnedAuthority(controlUrl: string, pin: Buffer): Promise<string> {
  const pinned = await fetchAuthority(controlUrl, pin)
  if (pinned !== undefined) return pinned
  const { host } = new URL(controlUrl)
  throw new SallyportError(
    'join-token-invalid',
    `${host} does not present the authority that the join token pins`,
    {
      clientMessage: `${host} is not the control that made this join token`,
      hint: 'check --control-url; if it is right, somebody stands between this machine and control',
    },
  )
}
