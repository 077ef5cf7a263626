import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { remember } from '../../../protocols/kit/remember.ts'

it('computes once for a text, and anew once it had to forget', () => {
  const asked: string[] = []
  const length = remember((text) => asked.push(text) && text.length, 2)
  expect(['a', 'bb', 'a', 'bb'].map(length)).toEqual([1, 2, 1, 2])
  expect(asked).toEqual(['a', 'bb'])
  length('ccc')
  length('a')
  expect(asked).toEqual(['a', 'bb', 'ccc', 'a'])
})

it('tells texts apart that UTF-8 does not', () => {
  const same = remember((text) => ({ text }), 8)
  for (const text of ['\ud800', '\ufffd', '\udfff', '\ufffd', 'é', '\u{1f600}']) {
    expect(same(text).text).toBe(text)
  }
})

it('keeps nothing of what a text was a part of', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const length = remember((text) => text.length, 256)
  collect()
  const before = process.memoryUsage().heapUsed
  for (let each = 0; each < 256; each++) {
    const target = Buffer.alloc(65_536, `/a/path/of/some/length/${each}?`).toString('latin1')
    length(target.slice(0, target.indexOf('?')))
  }
  collect()
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(4 * 1024 * 1024)
  length('')
})
