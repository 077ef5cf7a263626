/** `sally audit verify` and `export`: what is found, and that each place is named. */
import {
  appendFileSync,
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
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { activity, dev, shopHandlers } from '../../fakes/shop.ts'
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
  // Without the places where it could have been gone on with, between the pages.
  const all = readFileSync(bundle, 'utf8').trimEnd().split('\n')
  lines = all.filter((line) => !line.startsWith('{"cursor"'))
  expect(all.length - lines.length).toBe(2)
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

  test('goes on where it broke off, and the whole is what it would have been', async () => {
    const usualSegments = usual.auditSegments!
    const lose = new SallyportError('store-unavailable', 'lost', { clientMessage: 'lost' })
    api.handlers = {
      ...usual,
      auditSegments: (call) =>
        call.query['cursor'] === '2' ? Promise.reject(lose) : usualSegments(call),
    }
    const file = join(scratch, 'resumed.jsonl')
    const broken = await runSally(['audit', 'export', '--output', file], { home })
    expect(broken.code).toBe(5)
    expect(broken.stderr).toContain('--resume')
    expect(existsSync(file)).toBe(false)
    // Half a line, as a full disk leaves it.
    appendFileSync(`${file}.partial`, '{"chain":"x","bat')
    api.handlers = usual
    api.calls.length = 0
    const other = await runSally(['audit', 'export', '--output', file, '--resume', '--payloads'], {
      home,
    })
    expect(other.code).toBe(7)
    const resumed = await runSally(['audit', 'export', '--output', file, '--resume', '--json'], {
      home,
    })
    expect(JSON.parse(resumed.stdout)).toMatchObject({ segments: 3 })
    const asked = api.calls.filter(({ name }) => name === 'auditSegments')
    expect(asked.map(({ query }) => query['cursor'])).toEqual(['2'])
    const [, ...rest] = readFileSync(file, 'utf8').trimEnd().split('\n')
    expect(rest).toEqual(readFileSync(bundle, 'utf8').trimEnd().split('\n').slice(1))
    expect((await runSally(['audit', 'verify', file], { home })).code).toBe(0)
    const nothing = await runSally(['audit', 'export', '--output', file, '--resume'], { home })
    expect(nothing.code).toBe(7)
  })

  test('of statements says how whole it is, and goes on where it broke off', async () => {
    const pages = (cursor: unknown) => Number(cursor ?? 0)
    const state = { broken: true }
    api.handlers = {
      ...usual,
      auditSearch: ({ query }) => {
        const at = pages(query['cursor'])
        if (at === 2 && state.broken) {
          throw new SallyportError('store-unavailable', 'lost', { clientMessage: 'lost' })
        }
        const outcome = at === 0 ? null : activity.outcome
        const items = [{ ...activity, sequence: at, outcome }]
        return { items, next: at < 3 ? String(at + 1) : null, indexLagMs: 0 }
      },
    }
    const file = join(scratch, 'statements.jsonl')
    const line = ['audit', 'export', '--statements', '--since', '1h', '--output', file]
    expect((await runSally(line, { home })).code).toBe(5)
    state.broken = false
    api.calls.length = 0
    const run = await runSally([...line, '--resume', '--json'], { home })
    // One entry is received and not indexed: that is said, and it is a no.
    expect(run.code).toBe(1)
    expect(JSON.parse(run.stdout)).toMatchObject({
      ...{ file, statements: 4, running: 1, complete: false },
      missing: [expect.stringContaining('1 entries') as string],
    })
    const rows = readFileSync(file, 'utf8').trimEnd().split('\n')
    const parsed = rows.map((row) => JSON.parse(row) as Record<string, unknown>)
    expect(parsed[0]).toMatchObject({ export: 'sallyport-statements', realm: 'default' })
    const statements = parsed.filter((each) => 'sequence' in each)
    expect(statements.map((each) => each['sequence'])).toEqual([0, 1, 2, 3])
    expect(parsed.at(-1)).toMatchObject({ end: { statements: 4, complete: false } })
    const asked = api.calls.filter(({ name }) => name === 'auditSearch')
    expect(asked.map(({ query }) => query['cursor'])).toEqual(['2', '3'])
    // "1h" is what it was when it began.
    const { filter, exportedAtMs } = parsed[0] as {
      filter: { since: number }
      exportedAtMs: number
    }
    expect(asked[0]!.query).toMatchObject({
      order: 'oldest',
      since: filter.since,
      until: exportedAtMs,
    })
    const chains = await runSally(['audit', 'export', '--output', file, '--person', dev.email], {
      home,
    })
    expect(chains.code).toBe(2)
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
