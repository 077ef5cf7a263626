import { connect } from 'node:net'

/** True from the moment something listens on the port. */
export function createPortProbe(port: number): () => boolean {
  let open = false
  return () => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => {
      open = true
      socket.destroy()
    })
    socket.on('error', () => undefined)
    return open
  }
}
