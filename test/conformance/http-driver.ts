import { copyCertificates } from '../fakes/tls.ts'
import { domain, startHttpSite } from '../fakes/http-site.ts'
import { exchange, type Driver } from './drivers.ts'
import { connectHttp } from './http-client.ts'

const app = 'orders-db'

export const httpDriver: Driver = {
  withoutEvidence: { told: 'nothing in this request says who asks', arrivals: ['none'] },
  inTheClear: /HTTPS only/,
  async start() {
    const certificates = await copyCertificates(domain)
    return {
      secret: 'the-credential',
      stop: () => Promise.resolve(certificates.remove()),
      async serve(limits = {}) {
        const site = await startHttpSite({
          ...{ limits, certificates, terms: { credential: { kind: 'bearer' } } },
        })
        site.answer = ({ url = '' }, response) => {
          if (url !== '/linger') response.end(decodeURIComponent(url))
        }
        return {
          gate: site.gate,
          server: site.server,
          async open() {
            const client = await connectHttp(site.server, certificates.caPem, app)
            // A client is in when the app has answered it.
            await client.ask('/first')
            return {
              say: (word) => client.ask(`/${encodeURIComponent(word)}`),
              linger: () => void client.ask('/linger').catch(() => {}),
              ended: client.ended,
              vanish: () => client.destroy(),
              leave: () => client.leave(),
            }
          },
          async openWithoutEvidence() {
            return (await site.ask({ app, token: null })).text
          },
          openInTheClear: () =>
            exchange(
              site.server.port,
              Buffer.from(`GET / HTTP/1.1\r\nHost: ${app}.${domain}\r\n\r\n`),
            ),
          close: () => site.close(),
        }
      },
    }
  },
}
