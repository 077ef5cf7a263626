/** What is offered in a key exchange. The library's order is the client's preference where we are the client. */
import type { LibraryAlgorithms } from './library.ts'

/** AES-GCM is the fastest under the native add-on; the counter modes are for clients that know no other. */
const ciphers = [
  ...['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'chacha20-poly1305@openssh.com'],
  ...['aes256-ctr', 'aes192-ctr', 'aes128-ctr'],
]
const macs = ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com']

/** Algorithms of signatures that a client may sign in with, as server-sig-algs has it. */
export const signInAlgorithms = [
  'ssh-ed25519',
  'sk-ssh-ed25519@openssh.com',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'sk-ecdsa-sha2-nistp256@openssh.com',
  'rsa-sha2-512',
  'rsa-sha2-256',
]

/** Towards clients: nothing that a scanner would call weak. */
export function serverAlgorithms(hostKeys: readonly string[]): LibraryAlgorithms {
  const kex = ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'diffie-hellman-group16-sha512']
  return algorithms(kex, hostKeys, macs)
}

/** Towards resources, which may be older: everything that is not broken. */
export function clientAlgorithms(hostKeys: readonly string[]): LibraryAlgorithms {
  const kex = [
    ...['curve25519-sha256', 'curve25519-sha256@libssh.org'],
    ...['ecdh-sha2-nistp256', 'ecdh-sha2-nistp384', 'ecdh-sha2-nistp521'],
    ...['diffie-hellman-group16-sha512', 'diffie-hellman-group14-sha256'],
    'diffie-hellman-group-exchange-sha256',
  ]
  return algorithms(kex, hostKeys, [...macs, 'hmac-sha2-256', 'hmac-sha2-512'])
}

function algorithms(
  kex: string[],
  hostKeys: readonly string[],
  mac: readonly string[],
): LibraryAlgorithms {
  const way = () => ({ cipher: [...ciphers], mac: [...mac], compress: ['none'], lang: [] })
  return { kex, serverHostKey: [...hostKeys], cs: way(), sc: way() }
}
