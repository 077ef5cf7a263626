/** The keys that a sign-in is to certify, out of what was asked. */
export function keysOf(ask: { requestPem: string; sshPublicKey?: string | undefined }) {
  const { requestPem, sshPublicKey } = ask
  return sshPublicKey === undefined ? { requestPem } : { requestPem, sshPublicKey }
}
