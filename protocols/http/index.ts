/** HTTP: host names of one domain, many sessions on a connection and one session over many connections. */
import type { Engine } from '../engine.ts'

export const http: Engine = {
  name: 'http',
  defaultPort: 443,
  serve(connection) {
    connection.destroy()
    return Promise.resolve()
  },
}
