/** `sally audit verify` and `export`: what is found, and that each place is named. */
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Segment } from '../../../control/api/shapes.ts'
import { makeHome, startFakeApi, type FakeApi, type FakeHandlers } from '../../fakes/api.ts'
import { shopHandlers } from '../../fakes/shop.ts'
import { runSally } from '../../run-sally.ts'
import { proxyId, smallBundle } from '../../unit/audit-bundle.ts'

interface Verdict {
  ok: boolean
  damage: { kind: string; chain: string; detail: string }[]
  heads: { compared: number; newer: number }
}
let api: FakeApi
let scratch: string
let home: string
let bundle: string
let lines: string[]
let count = 0
const usual: FakeHandlers = await shopHandlers()
const { segments } = await smallBundle()

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sally-audit-'))
  api = await startFakeApi(usual)
  const exporter = await makeHome(api, join(scratch, 'exporter'))
  bundle = join(scratch, 'audit.jsonl')
  const run = await runSally(['audit', 'export', '--output', bundle, '--json'], { home: exporter })
  expect(JSON.parse(run.stdout)).toMatchObject({ file: bundle, segments: 3, payloads: 'without' })
  lines = readFileSync(bundle, 'utf8').trimEnd().split('\n')
})
beforeEach(async () => {
  api.handlers = usual
  api.calls.length = 0
  home = await makeHome(api, join(scratch, `home-${(count += 1)}`))
})
afterAll(async () => {
  await api.close()
  rmSync(scratch, { recursive: true, force: true })
})

async function verify(...more: string[]): Promise<Verdict & { code: number | null }> {
  const run = await runSally(['audit', 'verify', ...more, '--json'], { home })
  expect(run.stderr).toBe('')
  return { ...(JSON.parse(run.stdout) as Verdict), code: run.code }
}
const answering = (list: readonly Segment[]): FakeHandlers => ({
  ...usual,
  auditSegments: () => ({ items: [...list], next: null }),
})
function writeBundle(name: string, changed: readonly string[]): string {
  const file = join(scratch, name)
  writeFileSync(file, `${changed.join('\n')}\n`)
  return file
}

describe('export', () => {
  test('is private, whole, and asks for payloads only when told to', async () => {
    expect(statSync(bundle).mode & 0o777).toBe(0o600)
    expect(JSON.parse(lines[0]!)).toMatchObject({ bundle: 'sallyport-audit', realm: 'default' })
    expect(JSON.parse(lines.at(-1)!)).toEqual({ end: { segments: 3 } })
    const file = join(scratch, 'with.jsonl')
    await runSally(['audit', 'export', '--output', file, '--payloads'], { home })
    const asked = api.calls.filter(({ name }) => name === 'auditSegments')
    expect(asked.map(({ query }) => query['payloads'])).toEqual(['with', 'with', 'with'])
  })

  test('leaves nothing behind when it fails in the middle', async () => {
    api.handlers = { ...usual, auditSegments: () => Promise.reject(new Error('lost')) }
    const file = join(scratch, 'failed.jsonl')
    expect((await runSally(['audit', 'export', '--output', file], { home })).code).toBe(70)
    expect(existsSync(file) || existsSync(`${file}.partial`)).toBe(false)
  })
})

describe('verify', () => {
  test('green from control and from a file, offline', async () => {
    expect(await verify()).toMatchObject({ ok: true, code: 0, damage: [] })
    const before = api.calls.length
    const offline = await runSally(['audit', 'verify', bundle], { home })
    expect(offline.code).toBe(0)
    expect(offline.stdout).toMatch(
      /chains +1 \(2 epochs\)[^]*batches +6[^]*checkpoints +3[^]*green/,
    )
    expect(api.calls.length).toBe(before)
  })

  test('works where nobody is signed in, and says what it then cannot find', async () => {
    home = join(scratch, 'nowhere')
    const run = await runSally(['audit', 'verify', bundle], { home })
    expect(run.code).toBe(0)
    expect(run.stderr).toContain('no home')
    expect(existsSync(home)).toBe(false)
  })

  test('a flipped byte, a swapped pair, a missing segment: each with its place', async () => {
    const flipped = segments.map((segment, index) => {
      if (index !== 1) return segment
      const bytes = Buffer.from(segment.batches, 'base64')
      bytes[bytes.length - 40]! ^= 1
      return { ...segment, batches: bytes.toString('base64') }
    })
    const swapped = [segments[1]!, segments[0]!, segments[2]!]
    for (const list of [flipped, swapped, [segments[0]!, segments[2]!]]) {
      api.handlers = answering(list)
      const verdict = await verify()
      expect(verdict).toMatchObject({ ok: false, code: 1 })
      expect(verdict.damage[0]?.chain).toBe(proxyId)
    }
    api.handlers = answering(flipped)
    const run = await runSally(['audit', 'verify'], { home })
    expect(run.stdout).toMatch(new RegExp(`chain ${proxyId}, epoch [0-9a-f-]+.*batch`))
    expect(run.stdout).toMatch(/damaged in \d+ place/)
  })

  test('a tail that is cut with its signatures is found by the heads of the home', async () => {
    const cut = [segments[0]!]
    api.handlers = answering(cut)
    // Nothing was remembered: the rest is a chain like any other.
    expect(await verify('--no-heads')).toMatchObject({ ok: true })
    api.handlers = usual
    expect(await verify()).toMatchObject({ ok: true, heads: { compared: 0 } })
    expect(statSync(join(home, 'audit-heads.json')).mode & 0o777).toBe(0o600)
    api.handlers = answering(cut)
    const verdict = await verify()
    expect(verdict).toMatchObject({ ok: false, code: 1, heads: { compared: 2 } })
    expect(verdict.damage.map(({ kind }) => kind)).toContain('tail-missing')
    // Seeing the damage does not make it forgotten.
    expect((await verify()).ok).toBe(false)
    api.handlers = answering([])
    expect((await verify()).ok).toBe(false)
  })

  test('an older file is not measured against newer heads, and says so', async () => {
    await verify()
    const header = JSON.parse(lines[0]!) as object
    const old = [JSON.stringify({ ...header, exportedAtMs: 1_600_000_000_000 }), ...lines.slice(1)]
    const file = writeBundle('old.jsonl', old)
    expect(await verify(file)).toMatchObject({ ok: true, heads: { compared: 0, newer: 2 } })
  })

  test('heads that others can change are not trusted', async () => {
    await verify()
    chmodSync(join(home, 'audit-heads.json'), 0o666)
    expect((await runSally(['audit', 'verify'], { home })).code).toBe(2)
  })

  test.each<[string, (all: string[]) => string[], RegExp]>([
    ['a file that broke off', (all) => all.slice(0, -1), /line 5 is missing/],
    ['a line that broke', (all) => all.with(2, all[2]!.slice(0, 50)), /line 3 is not JSON/],
    ['a line that is something else', (all) => all.with(2, '{}'), /line 3 is not a segment/],
    ['a line too few', (all) => all.toSpliced(2, 1), /says 3 segments, there are 2/],
    ['something after the end', (all) => [...all, all[1]!], /line 6 comes after the end/],
  ])('%s', async (_, change, detail) => {
    const verdict = await verify(writeBundle('changed.jsonl', change(lines)))
    expect(verdict).toMatchObject({ ok: false, code: 1 })
    expect(verdict.damage.map((damage) => damage.detail).join('\n')).toMatch(detail)
  })

  test('what is no bundle at all', async () => {
    for (const text of ['', 'hello', '{"bundle":"other"}']) {
      const run = await runSally(['audit', 'verify', writeBundle('none.jsonl', [text])], { home })
      expect(run.code).toBe(1)
      expect(run.stderr).toContain('line 1 is not the beginning of an audit bundle')
    }
    expect((await runSally(['audit', 'verify', join(scratch, 'absent')], { home })).code).toBe(2)
  })
})
