import { expect, test } from 'vitest'
import { createRequestBody } from '../../../protocols/http/upstream/request-body.ts'
import {
  fieldOf,
  fieldsForApp,
  rawHeadersOf,
} from '../../../protocols/http/upstream/raw-headers.ts'
import { pathRequest } from '../../fakes/http-app.ts'

test('order and repetition of fields are kept, and what frames a message is not', () => {
  const headers = [
    ...['B', '1', 'a', '2', 'B', '3', 'Connection', 'close', 'Transfer-Encoding', 'chunked'],
    ...['Content-Length', '4', 'HOST', 'x', 'Keep-Alive', 'timeout=5', 'Upgrade', 'h2c'],
    ...['Proxy-Connection', 'close', 'Expect', '100-continue', 'TE', 'trailers'],
  ]
  expect(fieldsForApp({ ...pathRequest('/'), headers }, undefined, false)).toEqual([
    ...['b', '1', 'a', '2', 'b', '3', 'te', 'trailers'],
  ])
})

test('the credential replaces every field of its name', () => {
  const headers = ['Authorization', 'a', 'authorization', 'b', 'x', 'y']
  const request = { ...pathRequest('/'), headers }
  expect(fieldsForApp(request, ['authorization', 'Bearer c'], false)).toEqual([
    ...['x', 'y', 'authorization', 'Bearer c'],
  ])
})

test('an answer that is recorded is asked for as it is', () => {
  const request = { ...pathRequest('/'), headers: ['Accept-Encoding', 'gzip, br'] }
  expect(fieldsForApp(request, undefined, true)).toEqual(['accept-encoding', 'identity'])
})

test('values of an answer are Latin-1, without blanks around them', () => {
  const kept = [Buffer.from('Set-Cookie'), Buffer.from('a=\xfc \t', 'latin1'), 'B', 'c']
  expect(rawHeadersOf(kept)).toEqual(['Set-Cookie', 'a=\xfc', 'B', 'c'])
  expect(rawHeadersOf(undefined)).toEqual([])
})

test('lines of a list are one list', () => {
  const headers = ['Connection', 'a', 'x', '1', 'connection', 'b']
  expect(fieldOf(headers, 'connection')).toBe('a, b')
  expect(fieldOf(headers, 'none')).toBeUndefined()
})

test('a body that nobody reads any more is taken all the same, so that its sender can end', async () => {
  const { target, source } = createRequestBody()
  while (target.write(Buffer.alloc(16_384))) await Promise.resolve()
  const drained = new Promise((resolve) => target.once('drain', resolve))
  source.destroy()
  await drained
  for (let index = 0; index < 100; index++) target.write(Buffer.alloc(16_384))
  await new Promise<void>((resolve) => target.end(resolve))
})
