import { PlainOutput } from '../../terminal/plain-output.ts'
import { sizeOf, type Frame } from '../../api/audit/recording.ts'
import type { Cli } from '../cli.ts'
import { printableLines } from '../printable.ts'
import type { FramePage } from './read-frames.ts'

/** What was shown, as lines of text; with `--json` each frame, a value a line. */
export async function printPlainly(
  cli: Cli,
  pages: AsyncIterable<FramePage>,
  fromUs: number,
): Promise<void> {
  const plain = new PlainOutput()
  const tell = (value: object): void => {
    if (cli.json) cli.event(value, () => '')
  }
  let told = false
  let endsLine = true
  for await (const { recording, frames, hiddenParts, ended } of pages) {
    if (!told) tell({ event: 'recording', recording })
    told = true
    for (const frame of frames) {
      if (frame.atUs < fromUs) continue
      if (cli.json) {
        tell({ event: 'frame', ...frameValue(frame) })
      } else if (frame.kind === 'upstream' || frame.kind === 'upstream-error') {
        // Tabs and line ends are what plain text is made of; nothing else of the kind passes.
        const text = plain.feed(frame.bytes).split('\t').map(printableLines).join('\t')
        if (text !== '') {
          process.stdout.write(text)
          endsLine = text.endsWith('\n')
        }
      }
    }
    if (hiddenParts > 0) tell({ event: 'hidden', parts: hiddenParts })
    if (ended) tell({ event: 'ended', recording })
  }
  if (!endsLine) process.stdout.write('\n')
}

function frameValue(frame: Frame): object {
  const { kind, atUs, bytes } = frame
  if (kind === 'resize') return { kind, atUs, ...sizeOf(frame) }
  if (kind === 'mark') return { kind, atUs, label: bytes.toString('utf8') }
  return { kind, atUs, base64: bytes.toString('base64') }
}
