import { SallyportError } from '../../protocols/kit/errors.ts'
import { parseSshPublicKeyLine, type SshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import { invalid } from '../refusals.ts'

/** A line of an id_*.pub file that a person sent. Throws `request-invalid`. */
export function openSshKey(line: string): SshPublicKey {
  try {
    return parseSshPublicKeyLine(line)
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error
    throw invalid(error.clientMessage, error.hint)
  }
}
