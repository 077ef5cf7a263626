import { expect, test } from 'vitest'
import { cookiesOf, findEvidence } from '../../../protocols/http/downstream/evidence.ts'
import { responseHeaders } from '../../../protocols/http/relay/response-headers.ts'

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
