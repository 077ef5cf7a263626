import type { HttpTerms } from '../../session.ts'
import { LevelRefusal } from '../downstream/refusal-words.ts'
import { HttpRefusal } from '../wire/refusal.ts'
import type { Admitted } from './admitted.ts'
import { isAllowed } from './rules.ts'

/** Rules are held against each of its spellings. */
const pathCharactersMax = 8_192

/** Why a request may not go to the app although its session is open. Throws `HttpRefusal`. */
export function checkTerms({ exchange, asked, held }: Admitted, terms: HttpTerms): void {
  if (asked.path.length > pathCharactersMax) {
    throw new HttpRefusal(414, 'frame-too-large', 'the path is longer than any app’s')
  }
  const need = held.rules.needOf(exchange.method, asked.path)
  if (!isAllowed(held.session.labels.level, need)) throw new LevelRefusal(need, held.session)
  const { headers, body } = exchange
  let bytes = 0
  for (let at = 0; at < headers.length; at += 2) {
    bytes += headers[at]!.length + headers[at + 1]!.length + 4
  }
  if (bytes > terms.limits.headerBytesMax) {
    throw new HttpRefusal(431, 'frame-too-large', 'the header is larger than this app takes')
  }
  const { bodyBytesMax } = terms.limits
  if (bodyBytesMax > 0 && typeof body === 'number' && body > bodyBytesMax) throw bodyTooLarge()
}

export function bodyTooLarge(): HttpRefusal {
  return new HttpRefusal(413, 'frame-too-large', 'the body is larger than this app takes', {
    isLast: true,
  })
}
