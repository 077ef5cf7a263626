import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rmSync } from 'node:fs'
import { SallyportError } from '../protocols/kit/errors.ts'

/**
 * Takes a directory for this process, until it ends: a listening socket, which no kill -9 and no reused process id can
 * leave behind. Rejects with `conflict` if another process has it.
 */
export async function lockDirectory(directory: string): Promise<Server> {
  const key = createHash('sha256').update(realpathSync(directory)).digest('hex').slice(0, 24)
  // Linux has socket names outside of the file system, which vanish with their process.
  const abstract = process.platform === 'linux'
  const path = abstract ? `\0sallyport-${key}` : join(tmpdir(), `sallyport-${key}.sock`)
  if (!abstract && !(await answers(path))) rmSync(path, { force: true })
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy())
    server.on('error', (error) => {
      reject(
        new SallyportError('conflict', `${directory} is in use: ${error.message}`, {
          clientMessage: `another Sallyport runs on ${directory}`,
          hint: 'stop it first, or give this one a directory of its own with --data-dir',
          cause: error,
        }),
      )
    })
    server.listen(path, () => {
      server.unref()
      resolve(server)
    })
  })
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
