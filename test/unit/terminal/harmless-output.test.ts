/** Output of other machines on one's own terminal: what draws passes, what does more does not, however it is cut up. */
import { Terminal } from '@xterm/headless'
import { describe, expect, test } from 'vitest'
import { HarmlessOutput } from '../../../control/terminal/harmless-output.ts'
import { PlainOutput } from '../../../control/terminal/plain-output.ts'
import { drawnSession } from './drawn-session.ts'
import { screenOf } from './screen.ts'

const filter = (text: string | Buffer): string => new HarmlessOutput().filter(Buffer.from(text))

describe('hostile sequences', () => {
  test.each([
    ['writes the clipboard', '\u001b]52;c;cm0gLXJmIC8K\u0007'],
    ['writes the clipboard, ended by ST', '\u001b]52;c;cm0gLXJmIC8K\u001b\\'],
    ['writes the clipboard, of C1', '\u009d52;c;cm0gLXJmIC8K\u009c'],
    ['sets the title', '\u001b]0;rm -rf /\u0007'],
    ['asks for the title', '\u001b[21t'],
    ['asks what terminal it is', '\u001b[c'],
    ['asks what terminal it is, secondary', '\u001b[>c\u001b[>0q\u001b[=c'],
    ['asks what terminal it is, of old', '\u001bZ\u0005'],
    ['asks where the cursor is', '\u001b[6n\u001b[?6n'],
    ['asks where the cursor is, of C1', '\u009b6n'],
    ['asks for a setting', '\u001bP$q"p\u001b\\'],
    ['asks for a mode', '\u001b[?25$p'],
    ['asks for a checksum of the screen', '\u001b[1;1;1;1;24;80*y'],
    ['asks for parameters', '\u001b[1x'],
    ['asks for a colour', '\u001b]11;?\u0007'],
    ['changes colours', '\u001b]4;1;rgb:00/00/00\u0007'],
    ['draws pictures', '\u001bPq#0;2;0;0;0~-\u001b\\'],
    ['runs what another program would', '\u001b_Gi=1,a=q;AAAA\u001b\\'],
    ['a private message', '\u001b^hello\u001b\\'],
    ['a string', '\u001bXhello\u001b\\'],
    ['prints', '\u001b[5i\u001b[?5i'],
    ['moves the window', '\u001b[3;0;0t'],
    ['locks the keyboard', '\u001b[2h'],
    ['takes the mouse', '\u001b[?1000h\u001b[?1006h'],
    ['takes focus and paste', '\u001b[?1004h\u001b[?2004h'],
    ['changes what keys send', '\u001b[>4;2m\u001b[>1u\u001b[=1u'],
    ['leaves UTF-8', '\u001b%@'],
    ['takes away what scrolled by', '\u001b[3J'],
    ['changes the width', '\u001b[?3h'],
    ['repeats without end', '\u001b[99999b\u001b[123456789b'],
    ['a sequence without end', `\u001b[${'1;'.repeat(500)}m`],
  ])('%s', (_what, sequence) => {
    expect(filter(`a${sequence}b`)).toBe('ab')
    // And however the bytes come.
    const output = new HarmlessOutput()
    const bytes = Buffer.from(`a${sequence}b`)
    expect(Array.from(bytes, (byte) => output.filter(Buffer.from([byte]))).join('')).toBe('ab')
  })

  test('one that is not ended swallows no more than a terminal would, and shows nothing of itself', () => {
    expect(filter('a\u001b]52;c;AAAA')).toBe('a')
    expect(filter('a\u001b]52;c;AAAA\u001b[1mb')).toBe('a\u001b[1mb')
    expect(filter('a\u001b]0;x\u0018b')).toBe('ab')
    expect(filter('a\u001b[1\u001b[2mb')).toBe('a\u001b[2mb')
    expect(filter('a\u001b\u001b]0;x\u0007b')).toBe('ab')
  })

  test('of several modes those pass that draw', () => {
    expect(filter('\u001b[?25;1000;2004l')).toBe('\u001b[?25l')
  })

  test('bytes that are no UTF-8 become what stands for them, and no C1', () => {
    expect(filter(Buffer.from([0x61, 0x9b, 0x36, 0x6e, 0xff]))).toBe('a\ufffd6n\ufffd')
  })

  test('random bytes never make a terminal answer', async () => {
    let seed = 7
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
      return Math.floor((seed / 2 ** 31) * below)
    }
    const pieces = [
      '\u001b',
      '[',
      ']',
      'P',
      '?',
      '>',
      '6',
      'n',
      'c',
      '$',
      'p',
      '52;',
      '\u0007',
      'x',
    ]
    const terminal = new Terminal({ allowProposedApi: true })
    const answers: string[] = []
    terminal.onData((text) => answers.push(text))
    terminal.onTitleChange((text) => answers.push(text))
    for (let round = 0; round < 200; round += 1) {
      const text = Array.from({ length: 60 }, () => pieces[random(pieces.length)]).join('')
      await new Promise<void>((resolve) => terminal.write(filter(text), resolve))
    }
    expect(answers).toEqual([])
    // The same terminal does answer what is not filtered.
    await new Promise<void>((resolve) => terminal.write('\u0018\u001b[6n', resolve))
    expect(answers).toHaveLength(1)
    terminal.dispose()
  })
})

test('a full-screen program looks the same through the filter, in any pieces', async () => {
  const { chunks, columns, rows } = drawnSession()
  const output = new HarmlessOutput()
  const bytes = Buffer.concat(chunks)
  let filtered = ''
  for (let at = 0; at < bytes.length; at += 7) filtered += output.filter(bytes.subarray(at, at + 7))
  expect(await screenOf([filtered], columns, rows)).toEqual(await screenOf(chunks, columns, rows))
})

describe('plain text', () => {
  const plain = (text: string): string => new PlainOutput().feed(Buffer.from(text))
  test.each([
    ['colours', '\u001b[1;31mred\u001b[0m and not\r\n', 'red and not\n'],
    ['typing over', 'passwrod\b\b\bord\r\n', 'password\n'],
    ['progress', '10%\r20%\r\n', '10%\n20%\n'],
    ['places on the screen', '\u001b[2J\u001b[1;1Hone\u001b[5;1Htwo', 'one\ntwo'],
    ['gaps', 'one\u001b[10Ctwo', 'one two'],
    ['titles', '\u001b]0;secret title\u0007text', 'text'],
    ['the other screen', 'sh$ vi\u001b[?1049hfile', 'sh$ vi\nfile'],
  ])('%s', (_what, shown, text) => expect(plain(shown)).toBe(text))

  test('what is typed over costs no more where much was there', () => {
    const much = 'A'.repeat(256 * 1024)
    expect(plain(`${much}${'x\b'.repeat(256 * 1024)}`)).toBe(much)
    expect(plain(`${much}\n${'x\r'.repeat(256 * 1024)}`)).toHaveLength(much.length * 3)
    expect(plain(`${much}\n\b\bx`)).toBe(`${much}\nx`)
  })

  test('keeps its place between pieces', () => {
    const output = new PlainOutput()
    const bytes = Buffer.from('\u001b[1mgrün\u001b[0m\r\n€')
    expect(Array.from(bytes, (byte) => output.feed(Buffer.from([byte]))).join('')).toBe('grün\n€')
  })
})
