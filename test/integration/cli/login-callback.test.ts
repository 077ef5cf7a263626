/** What reaches the loopback address while a browser signs in: only the provider's answer counts, and nothing ends the wait. */
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import type { ApiClient } from '../../../control/api/client.ts'
import { createCli } from '../../../control/cli/cli.ts'
import { loginWithBrowser } from '../../../control/cli/login/login-with-browser.ts'
import { systemClock } from '../../../protocols/kit/clock.ts'

/** One request as it is written, whatever it is; resolves with the status line. */
function ask(port: number, target: string, host = `127.0.0.1:${port}`): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(`GET ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
    })
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    socket.on('close', () => resolve(text.split('\r\n')[0]!))
    socket.on('error', reject)
  })
}

test('a page elsewhere neither ends nor answers a sign-in', async () => {
  const silent = { write: () => true }
  const cli = createCli({
    clock: systemClock,
    environment: { BROWSER: '/nonexistent' },
    json: false,
    stdin: {},
    stdout: silent,
    stderr: silent,
    exitWith: () => undefined,
  })
  const calls: { name: string; body: Record<string, string> }[] = []
  const begun = Promise.withResolvers<number>()
  const api = {
    call(name: string, { body }: { body: Record<string, string> }) {
      calls.push({ name, body })
      if (name === 'loginCodeFinish') return Promise.resolve({ state: 'done' })
      begun.resolve(Number(new URL(body['redirectUri']!).port))
      const authorizationUrl = 'https://provider.example/authorize?state=right'
      return Promise.resolve({ id: 'x', secret: 's', authorizationUrl, endsAtMs: 0 })
    },
    close: () => undefined,
  } as unknown as ApiClient
  const done = loginWithBrowser(cli, api, { requestPem: 'request', sshPublicKey: 'key' })
  const port = await begun.promise
  await new Promise((resolve) => setImmediate(resolve))
  for (const target of [
    ...['//', '/', '/callback', '/callback?code=stolen', 'http://[', '*', '/callback?state=%ff'],
    '/callback?state=wrong&code=stolen',
    'http://evil.example/callback?state=wrong&code=stolen',
  ]) {
    expect(await ask(port, target), target).toContain(' 404 ')
  }
  const right = '/callback?state=right&code=good'
  expect(await ask(port, right, `evil.example:${port}`)).toContain(' 404 ')
  expect(await ask(port, right)).toContain(' 200 ')
  expect(await done).toEqual({ state: 'done' })
  expect(calls.at(-1)).toMatchObject({ name: 'loginCodeFinish', body: { code: 'good' } })
  expect(calls).toHaveLength(2)
})
