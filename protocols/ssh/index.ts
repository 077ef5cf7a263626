/** SSH: to be built; takes no connection until then. */
import type { Engine } from '../engine.ts'

export const ssh: Engine = {
  name: 'ssh',
  defaultPort: 2222,
  serve(connection, _gate, host) {
    host.handshakeDone(connection)
    connection.destroy()
    return Promise.resolve()
  },
}
