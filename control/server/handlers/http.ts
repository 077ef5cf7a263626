import type { Handlers } from '../handlers.ts'
import type { Control } from '../../control.ts'
import { finishApp } from '../../apps/finish-app.ts'
import { notFound } from '../../refusals.ts'

type HttpRoute = 'jwks' | 'proxyHttpFinish' | 'proxyAssertionKey'

export function httpHandlers(control: Control): Pick<Handlers, HttpRoute> {
  return {
    async jwks() {
      return { keys: [] }
    },
    proxyHttpFinish: ({ caller }, { body }) => finishApp(control, caller, body),
    async proxyAssertionKey() {
      throw notFound('key')
    },
  }
}
