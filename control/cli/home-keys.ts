/** The keys of a home. They are made where they stay: what control sees is their public halves. */
import { createSshKey, type NewSshKey } from '../../certs/create-ssh-key.ts'
import { createKeyAndRequest } from '../../certs/request.ts'

export interface HomeKeys {
  readonly privateKeyPem: string
  readonly ssh: NewSshKey
  /** What control is asked to certify, both at once. */
  readonly ask: { readonly requestPem: string; readonly sshPublicKey: string }
}

/** New ones, at every sign-in and at every renewal. */
export async function createHomeKeys(): Promise<HomeKeys> {
  const [{ privateKeyPem, requestPem }, ssh] = await Promise.all([
    createKeyAndRequest(),
    createSshKey(),
  ])
  return { privateKeyPem, ssh, ask: { requestPem, sshPublicKey: ssh.publicKey } }
}
