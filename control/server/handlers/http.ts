import type { Handlers } from '../handlers.ts'
import { notFound } from '../../refusals.ts'

type HttpRoute = 'jwks' | 'proxyHttpFinish' | 'proxyAssertionKey'

export function httpHandlers(): Pick<Handlers, HttpRoute> {
  return {
    async jwks() {
      return { keys: [] }
    },
    async proxyHttpFinish() {
      throw notFound('sign-in')
    },
    async proxyAssertionKey() {
      throw notFound('key')
    },
  }
}
