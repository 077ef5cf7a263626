/** Recordings on a person's terminal and in their files: replayed, watched, exported, searched. Under a real pseudo-terminal. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { beginFrame, type FrameKind } from '../../../control/api/audit/recording.ts'
import type { RecordingView } from '../../../control/api/recording-shapes.ts'
import type { SessionView } from '../../../control/api/shapes.ts'
import { ByteWriter } from '../../../protocols/kit/byte-writer.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { runSally, sallyPath } from '../../run-sally.ts'

const id = '7b3f6b0e-6a64-4f4e-9d55-1f7f4e9d1a01'
const session: SessionView = {
  ...{ id, state: 'live', personId: id, personEmail: 'dev@example.test', grantId: id },
  ...{ resource: 'web1', protocol: 'ssh', level: 'admin', account: 'deploy', proxyId: id },
  ...{ remoteAddress: '127.0.0.1', attributes: {}, admittedBy: 'control', openedAtMs: 1 },
  ...{ closedAtMs: null, endReason: null, cut: null, statements: 1, bytesUp: 1, bytesDown: 2 },
  recordings: 2,
}
const view: RecordingView = {
  ...{ sessionId: id, number: 1, kind: 'terminal', state: 'live', title: '/bin/bash' },
  ...{ activity: 4, columns: 60, rows: 16, term: 'xterm', beganAtUs: 5_000_000, lastedUs: 900_000 },
  ...{ parts: 3, frames: 9, bytes: 99, lostBytes: 0, digest: '', streams: null, deleted: false },
  exitStatus: null,
}
const stream: RecordingView = { ...view, number: 2, kind: 'stream', state: 'sealed', exitStatus: 3 }
const given: [FrameKind, number, string][] = [
  ['upstream', 0, '\u001b[1mdeploy@web1\u001b[m$ '],
  ['client', 100_000, 'ls\r'],
  ['upstream', 200_000, '\u001b]52;c;cm0gLXJmIC8K\u0007\u001b[6nfirst\r\n'],
  ['mark', 300_000, 'the grant ends in 5 min'],
  ['upstream', 900_000, 'needle\r\n'],
]

const framesOf = (frames: readonly [FrameKind, number, string][]): string => {
  const writer = new ByteWriter(256)
  for (const [kind, atUs, text] of frames) {
    beginFrame(writer, kind, atUs, Buffer.byteLength(text))
    writer.utf8(text)
  }
  return writer.bytes().toString('base64')
}
const part = (number: number, frames: string | null) => ({
  ...{ part: number, hidden: frames === null, firstUs: 0, lastUs: 0, frames },
})

let api: FakeApi
let scratch: string
let home: string
const usual: FakeHandlers = {
  sessions: () => ({ items: [session], next: null }),
  session: () => session,
  recordings: () => ({ items: [view, stream] }),
  recordingRead: ({ params, query }) => {
    const recording = params['number'] === '1' ? { ...view, state: 'sealed' as const } : stream
    const hidden = query['hidden'] === '1' ? framesOf([['client-hidden', 1, 'geheim']]) : null
    return query['cursor'] === undefined
      ? { recording, parts: [part(1, framesOf(given.slice(0, 3)))], next: 'x', ended: false }
      : {
          ...{ recording, next: 'y', ended: true },
          parts: [part(2, hidden), part(3, framesOf(given.slice(3)))],
        }
  },
}

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-recordings-'))
  api = await startFakeApi(usual)
  home = await makeHome(api, join(scratch, 'home'))
})
beforeEach(() => {
  api.handlers = usual
  api.calls.length = 0
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

const sally = (...args: string[]) => runSally(args, { home })

/** On a terminal of its own; each of `keys` is typed once what it waits for was shown. */
function onTerminal(line: string, keys: [string, string][] = []): Promise<string> {
  return new Promise((resolve, reject) => {
    const command = `stty cols 80 rows 24; '${sallyPath}' ${line}; echo "code $?"`
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, NO_COLOR: '1', TERM: 'xterm', SALLY_HOME: home },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let seen = ''
    let from = 0
    const waiting = [...keys]
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text
      while (waiting[0] !== undefined && seen.indexOf(waiting[0][0], from) >= 0) {
        const [prompt, typed] = waiting.shift()!
        from = seen.indexOf(prompt, from) + prompt.length
        child.stdin.write(typed)
      }
    })
    child.on('error', reject)
    child.on('close', () => resolve(seen))
  })
}

test('a replay shows what was shown, and nothing that a terminal would answer or keep', async () => {
  const seen = await onTerminal('replay 7b3f6b0e --recording 1 --speed 64')
  expect(seen).toContain('\u001b[1mdeploy@web1\u001b[m$ first\r\u000bneedle\r\u000b')
  for (const hostile of ['\u001b]52', '\u001b[6n']) expect(seen).not.toContain(hostile)
  // Put back as it was.
  expect(seen).toContain('\u001b[?1049l')
  expect(seen).toContain('its digest fits')
  expect(seen).toContain('code 0')
  expect(api.calls.filter(({ name }) => name === 'recordingRead')).toHaveLength(2)
})

test('what tells of the download is not drawn over the recording', async () => {
  // It is shown from the first second on, and this takes two.
  const seen = await onTerminal('replay 7b3f6b0e --recording 1 --speed 0.4')
  expect(seen).toContain('needle')
  expect(seen.slice(seen.indexOf('first'))).not.toContain('reading,')
})

test('keys: searched, sought, paused and left', async () => {
  const seen = await onTerminal('replay 7b3f6b0e --recording 1 --speed 0.1', [
    ['deploy@web1', '/'],
    ['\u001b[2K/', 'NEEDL\r'],
    ['needle', '/'],
    ['\u001b[2K/', 'nowhere\r'],
    ['nothing more of nowhere', '\u001b[D'],
    ['deploy@web1', 'q'],
  ])
  expect(seen).toContain('code 0')
})

test('where there is no terminal it is text, or frames', async () => {
  const text = await sally('replay', '7b3f6b0e', '--recording', '1')
  expect(text).toMatchObject({ code: 0, stdout: 'deploy@web1$ first\nneedle\n' })
  const lines = (await sally('replay', id, '--recording', '1', '--json')).stdout.trim().split('\n')
  const events = lines.map((line) => JSON.parse(line) as { event: string; kind?: string })
  expect(events.map(({ event, kind }) => kind ?? event)).toEqual([
    ...['recording', 'upstream', 'client', 'upstream', 'mark', 'upstream', 'hidden', 'ended'],
  ])
  const all = await sally('replay', id, '--recording', '1', '--json', '--hidden')
  expect(all.stdout).toContain(Buffer.from('geheim').toString('base64'))
})

test('an export is asciicast v3, whole or not there, and harmless unless asked otherwise', async () => {
  const file = join(scratch, 'one.cast')
  const done = await sally(
    'sessions',
    'export',
    '7b3f6b0e',
    '--recording',
    '1',
    '-o',
    file,
    '--json',
  )
  expect(JSON.parse(done.stdout)).toMatchObject({ file, events: 5 })
  expect(statSync(file).mode & 0o777).toBe(0o600)
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const [header, ...events] = lines.map((line) => JSON.parse(line) as unknown)
  expect(header).toMatchObject({ version: 3, term: { cols: 60, rows: 16 }, timestamp: 5 })
  expect(events).toEqual([
    [0, 'o', '\u001b[1mdeploy@web1\u001b[m$ '],
    [0.1, 'i', 'ls\r'],
    [0.1, 'o', 'first\r\n'],
    [0.1, 'm', 'the grant ends in 5 min'],
    [0.6, 'o', 'needle\r\n'],
  ])
  await sally('sessions', 'export', id, '--recording', '2', '-o', file, '--raw', '--hidden')
  const raw = readFileSync(file, 'utf8')
  expect(raw).toContain('52;c;')
  expect(raw).toContain('geheim')
  expect(raw.trim().split('\n').at(-1)).toBe('[0.000000, "x", "3"]')
  const nowhere = join(scratch, 'none', 'x.cast')
  expect(await sally('sessions', 'export', id, '--recording', '1', '-o', nowhere)).toMatchObject({
    code: 2,
  })
})

test('a session says what recordings there are', async () => {
  const shown = await sally('sessions', 'show', '7b3f6b0e')
  expect(shown.stdout).toMatch(/web1 \(ssh\), admin as deploy/)
  expect(shown.stdout).toMatch(/1 +terminal +live .*60 × 16 +\/bin\/bash/)
  expect((await sally('sessions')).stdout).toMatch(/RECORDINGS/)
  expect(JSON.parse((await sally('sessions', 'show', id, '--json')).stdout)).toMatchObject({
    ...{ session: { id }, recordings: [{ number: 1 }, { number: 2 }] },
  })
})

test('which recording has to be said where there are several, and one that is not there is none', async () => {
  api.handlers = { ...usual, recordings: () => ({ items: [view, { ...view, number: 3 }] }) }
  expect(await sally('replay', id)).toMatchObject({ code: 2 })
  expect(await sally('replay', id, '--recording', '9')).toMatchObject({ code: 4 })
  api.handlers = { ...usual, recordings: () => ({ items: [] }) }
  expect(await sally('replay', id)).toMatchObject({ code: 4 })
  expect(await sally('replay', id, '--speed', '0')).toMatchObject({ code: 2 })
  expect(await sally('replay', id, '--hidden')).toMatchObject({ code: 2 })
})

test('a live terminal is watched as it goes on, until q', async () => {
  let asked = 0
  api.handlers = {
    ...usual,
    recordingRead: async ({ query }) => {
      asked += 1
      if (query['cursor'] === undefined) {
        return {
          recording: view,
          parts: [part(1, framesOf(given.slice(0, 3)))],
          next: 'a',
          ended: false,
        }
      }
      // Nothing more comes while it is watched.
      if (query['cursor'] === 'b')
        await new Promise((resolve) => setTimeout(resolve, 60_000).unref())
      return {
        recording: view,
        parts: [part(2, framesOf(given.slice(4)))],
        next: 'b',
        ended: false,
      }
    },
  }
  const seen = await onTerminal('sessions watch 7b3f6b0e', [['needle', 'xq']])
  expect(seen).toContain('first\r\u000bneedle')
  for (const hostile of ['\u001b]52', '\u001b[6n']) expect(seen).not.toContain(hostile)
  expect(seen).toContain('goes on')
  expect(seen).toContain('code 0')
  expect(asked).toBeLessThanOrEqual(3)
})

test('what a terminal showed is found by its line, and says where', async () => {
  const { recordings: _, ...found } = session
  api.handlers = {
    ...usual,
    auditSearch: () => ({
      items: [
        {
          ...{ proxyId: id, epoch: id, sequence: 4, sessionId: id, personEmail: found.personEmail },
          ...{
            resource: 'web1',
            protocol: 'ssh',
            level: 'admin',
            kind: 'terminal-output',
            atUs: 1,
          },
          ...{ text: 'first\nthe Needle here\nlast', textBlob: null, preparedName: '' },
          ...{ parameters: [], parametersBlob: null, redacted: false, outcome: null },
          recording: { number: 1, atUs: 900_000 },
        },
      ],
      next: null,
      indexLagMs: 0,
    }),
  }
  const { stdout } = await sally('audit', 'search', 'needle')
  expect(stdout).toContain('the Needle here (recording 1, at 0.9s)')
  expect(stdout).toContain('shown')
  expect(stdout).not.toContain('last')
})
