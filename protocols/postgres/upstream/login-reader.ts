import { SallyportError } from '../../kit/errors.ts'
import type { Limits } from '../../kit/limits.ts'
import type { Inbox } from '../wire/inbox.ts'

/** libpq's bound for what a server may send before the login is done. */
const loginMessageBytesMax = 30_000
/** Settings and notices before the first ReadyForQuery. */
const loginMessagesMax = 1_000

export interface LoginMessage {
  readonly type: number
  /** Type and length included. */
  readonly whole: Buffer
}

export interface LoginReader {
  /** Rejects with `upstream-login` on a message no login has, or when the server closes. */
  next(): Promise<LoginMessage>
}

/** Reads a server's messages one at a time, bounded in size and number. */
export function readLogin(inbox: Inbox, limits: Limits): LoginReader {
  const bytesMax = Math.min(loginMessageBytesMax, limits.messageBytesMax)
  let messages = 0
  return {
    async next() {
      if (++messages > loginMessagesMax) throw strange('too many messages')
      let whole
      try {
        whole = await inbox.take((buffer) => {
          if (buffer.length < 5) return undefined
          const length = buffer.readUInt32BE(1)
          if (length < 4 || length > bytesMax) throw strange(`a message of length ${length}`)
          return length + 1
        })
      } catch (error) {
        if (error instanceof SallyportError && error.code !== 'protocol-violation') throw error
        throw strange(error instanceof Error ? error.message : String(error))
      }
      return { type: whole[0]!, whole }
    },
  }
}

function strange(why: string): SallyportError {
  return new SallyportError('upstream-login', `login at the resource: ${why}`, {
    clientMessage: 'the resource broke off the login',
    hint: 'The operator can see the cause in the log.',
  })
}
