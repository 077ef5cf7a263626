import { chmodSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { decodeBatches, type Entry } from '../../control/api/audit/decode.ts'
import type { ProxyStartedMeta } from '../../control/api/audit/format.ts'
import { systemFiles } from '../../proxy/audit/spool-files.ts'
import type { Parcel } from '../../proxy/audit/outbox.ts'
import type { Spool } from '../../proxy/audit/spool-types.ts'
import {
  filesOf,
  openTestSpool,
  sessionId,
  statement,
  temporaryDirectory,
  sessionIn,
} from './spool-fixture.ts'

/** A spool that was left by the death of its process: three statements in batches 2 to 4, one session open. */
async function leftBehind(limits = {}): Promise<{ directory: string; epoch: string }> {
  const directory = temporaryDirectory()
  const spool = await openTestSpool(directory, limits)
  await append(spool)
  return { directory, epoch: spool.epoch }
}

async function append(spool: Spool, count = 3): Promise<void> {
  const session = sessionIn(spool)
  for (let index = 0; index < count; index += 1) {
    spool.appendActivity(session, statement(`statement ${index}`))
    await spool.commitNow('written')
  }
}

async function drain(spool: Spool): Promise<Parcel[]> {
  const parcels: Parcel[] = []
  for (;;) {
    const parcel = await spool.outbox.next(1 << 20)
    if (parcel === undefined) return parcels
    parcels.push(parcel)
    await spool.outbox.done(parcel)
  }
}

function entriesIn(parcels: readonly Parcel[], epoch: string): Entry[] {
  return parcels.flatMap((parcel) =>
    parcel.kind === 'batches' && parcel.line.epoch === epoch
      ? decodeBatches(parcel.bytes).flatMap((batch) => batch.entries)
      : [],
  )
}

function startedOf(parcels: readonly Parcel[], spool: Spool): ProxyStartedMeta {
  const [entry] = entriesIn(parcels, spool.epoch)
  expect(entry!.type).toBe('proxy-started')
  return JSON.parse(entry!.meta.toString()) as ProxyStartedMeta
}

async function reopened(
  directory: string,
  epoch: string,
): Promise<{ spool: Spool; started: ProxyStartedMeta; parcels: Parcel[]; old: Entry[] }> {
  const spool = await openTestSpool(directory)
  const parcels = await drain(spool)
  const started = startedOf(parcels, spool)
  await spool.close('test')
  return { spool, started, parcels, old: entriesIn(parcels, epoch) }
}

describe('recovery', () => {
  test('ships what the dead process left first, names its head and the sessions it lost', async () => {
    const { directory, epoch } = await leftBehind()
    const { started, old, parcels, spool } = await reopened(directory, epoch)
    expect(old.map(({ type }) => type)).toEqual([
      'proxy-started',
      'session-opened',
      'activity',
      'activity',
      'activity',
    ])
    const last = decodeBatches((parcels[0] as Parcel & { kind: 'batches' }).bytes).at(-1)!
    expect(started).toMatchObject({
      previous: { epoch, batch: 4, sequence: 5, link: last.link.toString('hex') },
      lostSessions: [sessionId],
      damage: [],
    })
    // The old epoch is gone from the disk, and the next start follows this one.
    expect(filesOf(directory, '.segment')).toHaveLength(1)
    const again = await reopened(directory, epoch)
    expect(again.old).toEqual([])
    expect(again.started).toMatchObject({
      previous: { epoch: spool.epoch },
      lostSessions: [],
      damage: [],
    })
  })

  test('knows open sessions whose beginning was shipped and removed', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory, { segmentBytes: 500 })
    await append(spool, 20)
    await drain(spool)
    expect(filesOf(directory, '.segment')).toHaveLength(1)
    const { started, old } = await reopened(directory, spool.epoch)
    expect(started).toMatchObject({ lostSessions: [sessionId], damage: [] })
    expect(started.previous).toMatchObject({ epoch: spool.epoch, batch: 21 })
    // The process died before it wrote down the last acknowledgement: control knows how to pass over these.
    expect(old.length).toBeLessThan(4)
  })

  test('a torn last batch is dropped and noted with its place', async () => {
    const { directory, epoch } = await leftBehind()
    const [path] = filesOf(directory, '.segment')
    const bytes = readFileSync(path!)
    truncateSync(path!, bytes.length - 5)
    const { started, old, parcels } = await reopened(directory, epoch)
    expect(old).toHaveLength(4)
    expect(started.previous).toMatchObject({ batch: 3, sequence: 4 })
    expect(started.damage).toHaveLength(1)
    expect(started.damage[0]).toMatch(/\.segment, byte \d+: last batch is torn/)
    expect(parcels.every(({ kind }) => kind === 'batches')).toBe(true)
  })

  test('a flipped byte of a segment is noticed, and nothing is lost silently', async () => {
    const { directory, epoch } = await leftBehind()
    const [path] = filesOf(directory, '.segment')
    const whole = readFileSync(path!)
    const position = readFileSync(join(directory, 'position'))
    for (let at = 0; at < whole.length; at += at < 100 ? 1 : 7) {
      const flipped = Buffer.from(whole)
      flipped[at]! ^= 1 << (at % 8)
      for (const other of filesOf(directory, '.segment')) rmSync(other)
      writeFileSync(path!, flipped, { mode: 0o600 })
      writeFileSync(join(directory, 'position'), position)
      const spool = await openTestSpool(
        directory,
        {},
        { dataSync: (_file, done) => done(null), syncDirectory: (_path, done) => done(null) },
      )
      const parcels: Parcel[] = []
      for (let parcel; (parcel = await spool.outbox.next(1 << 20)) !== undefined;) {
        parcels.push(parcel)
        const { line } = parcel
        if (line.epoch === spool.epoch) break
        if (parcel.kind === 'batches') line.next = parcel.lastBatch + 1
        else line.setAside.shift()
        if (line.next > line.last && line.setAside.length === 0) break
      }
      const live = await spool.outbox.next(1 << 20)
      if (live?.kind === 'batches' && live.line.epoch === spool.epoch) parcels.push(live)
      await spool.close('test')
      const started = startedOf(
        parcels.filter((parcel) => parcel.line.epoch === spool.epoch),
        spool,
      )
      expect(started.damage.length, `byte ${at}`).toBeGreaterThan(0)
      const shipped = entriesIn(parcels, epoch)
      const aside = parcels.filter(({ kind }) => kind === 'aside')
      const torn = started.damage.some((note) => note.includes('torn'))
      expect(shipped.length === 5 || aside.length > 0 || torn, `byte ${at}`).toBe(true)
    }
  }, 60_000)

  test('what follows damage is set aside readable, what is damaged is set aside raw', async () => {
    const { directory, epoch } = await leftBehind()
    const [path] = filesOf(directory, '.segment')
    const bytes = readFileSync(path!)
    const frames: number[] = []
    for (let at = bytes.indexOf('SPF1'); at >= 0; at = bytes.indexOf('SPF1', at + 1)) {
      frames.push(at)
    }
    // Frames: sessions carried over, batches 1 to 4. Damage is in batch 2.
    bytes[frames[2]! + 40]! ^= 1
    writeFileSync(path!, bytes)
    const { started, old, parcels } = await reopened(directory, epoch)
    expect(old.map(({ type }) => type)).toEqual(['proxy-started'])
    const aside = parcels.filter((parcel) => parcel.kind === 'aside')
    expect(aside.map((parcel) => parcel.aside.readable)).toEqual([false, true])
    expect(aside[0]!.bytes).toEqual(bytes.subarray(frames[2], frames[3]))
    expect(aside[0]!.why).toContain(`byte ${frames[2]!}`)
    expect(decodeBatches(aside[1]!.bytes).map(({ number }) => number)).toEqual([3, 4])
    expect(started.previous).toMatchObject({ batch: 1 })
    expect(started.damage).toHaveLength(2)
    expect(filesOf(directory, '.segment')).toHaveLength(1)
  })

  test('a missing file is noticed', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory, { segmentBytes: 500 })
    await append(spool, 10)
    const paths = filesOf(directory, '.segment')
    expect(paths.length).toBeGreaterThan(3)
    rmSync(paths[1]!)
    const { started, parcels } = await reopened(directory, spool.epoch)
    expect(started.damage.join()).toMatch(/stands where batch \d+ belongs/)
    expect(parcels.some(({ kind }) => kind === 'aside')).toBe(true)
  })

  test('another key reads nothing, says so, and hands everything over', async () => {
    const { directory, epoch } = await leftBehind()
    const spool = await openTestSpool(directory, {}, {}, { key: Buffer.alloc(32, 8) })
    const parcels = await drain(spool)
    const started = startedOf(parcels, spool)
    expect(started.damage.length).toBeGreaterThan(1)
    expect(started.previous).toBeUndefined()
    expect(entriesIn(parcels, epoch)).toEqual([])
    expect(parcels[0]).toMatchObject({ kind: 'aside', aside: { readable: false } })
    await spool.close('test')
  })

  test('a directory that cannot be used refuses the start', async () => {
    const directory = temporaryDirectory()
    const file = join(directory, 'file')
    writeFileSync(file, '')
    await expect(openTestSpool(file)).rejects.toMatchObject({ code: 'audit-unwritable' })
    const readOnly = {
      create(): number {
        throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' })
      },
    }
    await expect(openTestSpool(directory, {}, readOnly)).rejects.toMatchObject({
      code: 'audit-unwritable',
    })
    chmodSync(directory, 0o700)
  })
})

describe('blobs', () => {
  const long = Buffer.from('long text '.repeat(20_000))
  const spillTo = (spool: Spool, text: Buffer): { sha256: Buffer; bytes: number } => {
    const session = sessionIn(spool)
    const blob = spool.spill(session)
    for (let at = 0; at < text.length; at += 10_000) blob.write(text.subarray(at, at + 10_000))
    return blob.finish()
  }
  const appendBlob = (spool: Spool, reference: { sha256: Buffer; bytes: number }): void => {
    const session = sessionIn(spool)
    spool.appendActivity(session, {
      kind: 'statement',
      encode(fields) {
        fields.utf8('text', 'long')
        fields.blob('textBlob', reference)
      },
    })
  }
  const read = async (spool: Spool, parcel: Parcel | undefined): Promise<string> => {
    if (parcel?.kind !== 'blob') throw new Error('not a blob')
    const pieces: Buffer[] = []
    for await (const piece of spool.outbox.pieces(parcel.blob)) pieces.push(piece)
    return Buffer.concat(pieces).toString()
  }

  test('go before the batch that names them, and are removed after', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    appendBlob(spool, spillTo(spool, long))
    await spool.commitNow('written')
    const parcel = await spool.outbox.next(1 << 20)
    expect(await read(spool, parcel)).toBe(long.toString())
    expect(spool.figures().bytes).toBeGreaterThan(long.length)
    expect(readFileSync(filesOf(directory, '.blob')[0]!).includes('long text')).toBe(false)
    await spool.outbox.done(parcel!)
    expect(await spool.outbox.next(1 << 20)).toMatchObject({ kind: 'batches' })
    expect(filesOf(directory, '.blob')).toEqual([])
    await spool.close('test')
  })

  test('abandoned ones leave nothing', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    const session = sessionIn(spool)
    // The session's own entry is on disk before, so that only the blob comes and goes.
    await spool.commitNow('written')
    const before = spool.figures().bytes
    const blob = spool.spill(session)
    blob.write(long)
    blob.abandon()
    await expect.poll(() => filesOf(directory, '.blob')).toEqual([])
    expect(spool.figures().bytes).toBe(before)
    await spool.close('test')
  })

  test('survive a restart if a batch names them; others are removed', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    appendBlob(spool, spillTo(spool, long))
    spillTo(spool, Buffer.from('nobody names this one'))
    spool.spill(sessionIn(spool)).write(long)
    await spool.commitNow('written')
    expect(filesOf(directory, '.blob')).toHaveLength(3)
    const again = await openTestSpool(directory)
    expect(filesOf(directory, '.blob')).toHaveLength(1)
    const parcel = await again.outbox.next(1 << 20)
    expect(await read(again, parcel)).toBe(long.toString())
    expect(startedOf(await drain(again), again).damage).toEqual([])
    await again.close('test')
  })

  test('missing or changed ones are noted and handed over', async () => {
    const directory = temporaryDirectory()
    const spool = await openTestSpool(directory)
    appendBlob(spool, spillTo(spool, long))
    const other = spillTo(spool, Buffer.from('another'))
    appendBlob(spool, other)
    await spool.commitNow('written')
    const [one, two] = filesOf(directory, '.blob')
    rmSync(one!)
    const bytes = readFileSync(two!)
    bytes[bytes.length - 100]! ^= 1
    writeFileSync(two!, bytes)
    const again = await openTestSpool(directory)
    const parcels = await drain(again)
    const { damage } = startedOf(parcels, again)
    expect(damage).toHaveLength(3)
    expect(damage[0]).toContain('.blob: ')
    expect(damage[2]).toContain('is missing')
    expect(parcels.some((parcel) => parcel.kind === 'aside')).toBe(true)
    await again.close('test')
  })

  test('a blob that cannot be written fails the spool', async () => {
    let fail = false
    const spool = await openTestSpool(
      temporaryDirectory(),
      {},
      {
        write(file, bytes, start, length) {
          if (fail) throw new Error('EIO')
          return systemFiles.write(file, bytes, start, length)
        },
      },
    )
    const codes: string[] = []
    spool.onFailure(({ code }) => codes.push(code))
    const blob = spool.spill(sessionIn(spool))
    fail = true
    blob.write(long)
    expect(codes).toEqual(['audit-unwritable'])
    expect(() => blob.finish()).toThrow('cannot be written')
    blob.abandon()
    await spool.close('test')
  })
})
