import { describe, expect, test } from 'vitest'
import { observeTyped } from '../../../protocols/ssh/observe/typed.ts'
import { createSink } from './observe-world.ts'

type Step = readonly ['up' | 'down', string]

function watch(steps: readonly Step[]) {
  const sink = createSink()
  const input: string[] = []
  const onInput = (bytes: Buffer, isHidden: boolean): void => {
    input.push(`${isHidden ? 'hidden' : 'shown'} ${JSON.stringify(bytes.toString())}`)
  }
  const observer = observeTyped(sink, { channel: 0, onInput })
  for (const [way, text] of steps) {
    if (way === 'up') observer.fromClient(Buffer.from(text))
    else observer.fromUpstream(Buffer.from(text))
  }
  observer.end()
  return { commands: sink.seen.map(({ text }) => text), input }
}
/** Each key and its echo. */
const keys = (text: string): Step[] =>
  Array.from(text).flatMap((key) => [['up', key] as const, ['down', key] as const])
const enter: Step[] = [
  ['up', '\r'],
  ['down', '\r\n'],
]

describe('what was typed', () => {
  test('a line, without its prompt', () => {
    const { commands } = watch([['down', 'dev@web1:~$ '], ...keys('ls -l /srv'), ...enter])
    expect(commands).toEqual(['ls -l /srv'])
  })

  test('as it was edited: backspace, arrows, insertion, erased to the end', () => {
    const { commands } = watch([
      ['down', '$ '],
      ...keys('lss'),
      ['up', '\u007f'],
      ['down', '\b\u001b[K'],
      ...keys(' x'),
      ['up', '\u001b[D'],
      ['down', '\b'],
      ['up', '-'],
      ['down', '\u001b[1@-'],
      ...enter,
    ])
    expect(commands).toEqual(['ls -x'])
  })

  test('from history and completion, which only the echo knows', () => {
    const { commands } = watch([
      ['down', '$ '],
      ['up', '\u001b[A'],
      ['down', 'systemctl restart '],
      ['up', 'ng\t'],
      ['down', 'nginx.service '],
      ...enter,
    ])
    expect(commands).toEqual(['systemctl restart nginx.service'])
  })

  test('pasted lines whose prompts come later', () => {
    const { commands } = watch([
      ['down', '$ '],
      ['up', 'echo a\recho b\r'],
      ['down', 'echo a\r\na\r\n$ echo b\r\n'],
      ['down', 'b\r\n$ '],
    ])
    expect(commands).toContain('echo a')
  })

  test('a line that was given up is none', () => {
    const { commands } = watch([
      ['down', '$ '],
      ...keys('rm -rf /'),
      ['up', '\u0003'],
      ['down', '^C\r\n$ '],
      ...keys('ls'),
      ...enter,
    ])
    expect(commands).toEqual(['ls'])
  })

  test('nothing of a full-screen program', () => {
    const { commands } = watch([
      ['down', '$ '],
      ...keys('vim'),
      ...enter,
      ['down', '\u001b[?1049h\u001b[2J\u001b[1;1H'],
      ...keys('ihello'),
      ...enter,
      ['down', '\u001b[?1049l\r\n$ '],
      ...keys('ls'),
      ...enter,
    ])
    expect(commands).toEqual(['vim', 'ls'])
  })

  test('a colourful prompt, a title, and letters of every kind', () => {
    const { commands } = watch([
      ['down', '\u001b]0;title; rm -rf\u0007\u001b[1;32mdev\u001b[0m$ '],
      ...keys('echo grüße 漢字'),
      ...enter,
    ])
    expect(commands).toEqual(['echo grüße 漢字'])
  })

  test('a password is hidden and no command, whatever comes after it', () => {
    const { commands, input } = watch([
      ['down', '$ '],
      ...keys('su'),
      ...enter,
      ['down', 'Password: '],
      ['up', 's3cret'],
      ['up', '\r'],
      ['down', '\r\nsu: s3cret failed\r\n$ '],
    ])
    expect(commands).toEqual(['su'])
    expect(input).toContain('shown "s"')
    expect(input.filter((line) => line.includes('s3cret'))).toEqual(['hidden "s3cret\\r"'])
  })

  test('hostile output costs no memory and throws nothing', () => {
    const { commands } = watch([
      ['down', `\u001b]${'x'.repeat(100_000)}`],
      ['down', `\u001b\\\u001b[${'9'.repeat(10_000)}`],
      ['down', '\u001b[99999999@\u001b[99999999C'.repeat(50)],
      ['down', 'y'.repeat(50_000)],
      ['up', 'z'.repeat(50_000)],
      ['up', '\r'],
      ['down', '\r\n'],
    ])
    expect(commands.join('').length).toBeLessThan(10_000)
  })
})
