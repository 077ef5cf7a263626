import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { cookiesOf, findEvidence } from '../../../protocols/http/downstream/evidence.ts'
import { answerPlaintext } from '../../../protocols/http/downstream/plaintext.ts'
import { responseHeaders } from '../../../protocols/http/relay/response-headers.ts'
import type { Host } from '../../../protocols/engine.ts'
import { defaultLimits } from '../../../protocols/kit/limits.ts'
import { createTestClock } from '../../test-clock.ts'

// What strangers and apps may send takes time from everybody. Reading each of these as often as here took far longer than a test may.

test('a head full of cookies is read at once', () => {
  const hard = [';', 'a;', ' ;\t'].map((each) => each.repeat(250_000 / each.length))
  for (let times = 0; times < 200; times++) {
    for (const cookie of hard) {
      expect(findEvidence(['cookie', cookie], undefined, 'wiki').evidence.kind).toBe('none')
    }
  }
})

test('as many cookies as any browser keeps are looked at, in one field or in many', () => {
  const own: [string, string] = ['__Host-sallyport', 'own']
  const others = Array.from({ length: 180 }, (_, at) => `c${at}=x`)
  const line = [...others, own.join('=')]
  expect(cookiesOf(['cookie', line.join('; ')]).at(-1)).toEqual(own)
  expect(cookiesOf(line.flatMap((each) => ['cookie', each])).at(-1)).toEqual(own)
})

test('an answer whose Connection names thousands of fields is read at once', () => {
  const names = Array.from({ length: 8_000 }, (_, at) => `n${at}`)
  const fields = Array.from({ length: 3_000 }, (_, at) => [`x${at}`, 'y']).flat()
  for (let times = 0; times < 200; times++) {
    expect(responseHeaders(['connection', `${names.join()},X7`, ...fields])).toHaveLength(5_998)
  }
})

test('what comes in the clear is read at once, whatever it is', async () => {
  const parts = { domain: 'access.test', clock: createTestClock(), limits: defaultLimits }
  const host = parts as unknown as Host
  const hard = ['Host:', 'Host: \t', 'Host:x', 'Accept:', 'Accept: text/htm', 'Host:\t\r\n'].map(
    (each) => `GET / HTTP/1.1\r\n${each}`.padEnd(16_383).concat('\u0001'),
  )
  for (let times = 0; times < 100; times++) {
    for (const head of hard) {
      let told = ''
      const connection = new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          told += chunk.toString()
          done()
        },
        final(done) {
          this.push(null)
          done()
        },
      })
      await answerPlaintext(connection as Socket, Buffer.from(head), host)
      expect(told).toMatch(/^HTTP\/1\.1 400 /)
    }
  }
})
