import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { ApiClient } from '../../api/client.ts'
import type { RecordingView } from '../../api/recording-shapes.ts'

/** The recording that is meant: the one named, or the only one, or the only terminal. Rejects with `not-found` or `usage`. */
export async function chooseRecording(
  api: ApiClient,
  session: string,
  asked: string | undefined,
): Promise<RecordingView> {
  const { items } = await api.call('recordings', { params: { id: session } })
  const list = `sally sessions show ${session.slice(0, 8)}`
  if (asked !== undefined) {
    const found = items.find(({ number }) => String(number) === asked)
    if (found !== undefined) return found
    throw new SallyportError('not-found', `no recording ${asked}`, {
      clientMessage: `the session has no recording ${JSON.stringify(asked)}`,
      hint: `${list} lists those it has`,
    })
  }
  if (items.length === 0) {
    throw new SallyportError('not-found', 'no recordings', {
      clientMessage: 'the session has no recordings',
      hint: `${list} shows what there is of it`,
    })
  }
  const terminals = items.filter(({ kind }) => kind === 'terminal')
  const candidates = terminals.length > 0 ? terminals : items
  if (candidates.length === 1) return candidates[0]!
  throw new SallyportError('usage', 'several recordings', {
    clientMessage: `the session has ${items.length} recordings: --recording N says which`,
    hint: `${list} lists them`,
  })
}
