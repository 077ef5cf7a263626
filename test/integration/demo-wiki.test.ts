/** The demo's wiki, asked without the proxy: what nobody could be made to ask must not end the demo. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePort } from '../../deploy/ports.ts'
import { startWiki, type Wiki } from '../../deploy/demo/wiki.ts'
import { systemClock } from '../../protocols/kit/clock.ts'
import { createTestClock } from '../test-clock.ts'

const readAssertion = () => Promise.resolve('dev@example.test')
let wiki: Wiki
beforeAll(async () => {
  wiki = await startWiki(await freePort(), { clock: systemClock, readAssertion })
})
afterAll(() => wiki.close())

test('one whose port is taken keeps nothing of its process alive', async () => {
  const clock = createTestClock()
  const second = startWiki(wiki.port, { clock, readAssertion })
  await expect(second).rejects.toMatchObject({ code: 'EADDRINUSE' })
  expect(clock.pendingTimers).toBe(0)
})

async function ask(target: string, more = ''): Promise<string> {
  const socket = connect(wiki.port, '127.0.0.1')
  const lines = [`GET ${target} HTTP/1.1`, 'Host: wiki', 'Connection: close']
  socket.write(`${lines.join('\r\n')}\r\n${more}\r\n`)
  let told = ''
  socket.on('data', (bytes: Buffer) => (told += bytes.toString()))
  await once(socket, 'close')
  return told
}

test.each(['/', '//', '///', '//[', '/%', '/pages/%ff', '*', 'http://[/'])(
  'a request for %s is answered',
  async (target) => {
    const token = `Authorization: Bearer ${wiki.tokens.get('read')}\r\nSallyport-Assertion: a\r\n`
    for (const more of ['', token]) expect(await ask(target, more)).toMatch(/^HTTP\/1\.1 [245]/)
  },
)
