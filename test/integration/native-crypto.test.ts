/** ssh2's native binding, as it is built here, in the Node that runs: what it makes can be collected at any time. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ranToEnd } from '../ran-to-end.ts'

const binding = join(
  ...[import.meta.dirname, '../../node_modules/ssh2/lib/protocol/crypto'],
  'build/Release/sshcrypto.node',
)

/** Deciphers that nobody holds, while sockets bring so much that the collector has to run in the middle of reading. */
const program = `
  const net = require('node:net')
  const { ChaChaPolyDecipher } = require(process.argv[1])
  let held = []
  let bytes = 0
  const server = net.createServer((socket) => socket.on('data', (chunk) => {
    bytes += chunk.length
    if (held.length > 1000) held = []
    held.push(chunk)
    for (let count = 0; count < 3; count += 1) new ChaChaPolyDecipher(Buffer.alloc(64)).free()
    if (bytes > 1.5e9) process.exit(0)
  }))
  server.listen(0, '127.0.0.1', () => {
    for (let count = 0; count < 4; count += 1) {
      const client = net.connect(server.address().port, '127.0.0.1')
      const block = Buffer.alloc(1 << 20)
      const fill = () => { while (client.write(block)); }
      client.on('drain', fill)
      fill()
    }
  })
`

test('survives the collector at its worst moment', async () => {
  const ran = await ranToEnd(spawn(process.execPath, ['--eval', program, '--', binding]))
  expect(ran.err).toBe('')
  expect(ran.code).toBe(0)
})
