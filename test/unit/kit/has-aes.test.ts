import { expect, it } from 'vitest'
import { saysAes } from '../../../protocols/kit/has-aes.ts'

it.each([
  ['x86 with it', 'processor : 0\nflags\t\t: fpu aes avx\n', true],
  ['x86 without it', 'processor : 0\nflags\t\t: fpu vaes avx\n', false],
  ['Arm with it', 'processor : 0\nFeatures\t: fp asimd aes pmull\n', true],
  ['Arm without it', 'processor : 0\nFeatures\t: fp asimd crc32\n', false],
  ['one that does not say', 'processor : 0\nmodel name : any\n', true],
])('reads what the system says of the processor: %s', (_name, text, expected) => {
  expect(saysAes(text)).toBe(expected)
})
