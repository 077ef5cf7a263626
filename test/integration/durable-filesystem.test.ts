/** PGlite is started with what it does not do by itself; an upgrade must not undo that silently. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { expect, test, vi } from 'vitest'
import {
  DurableFilesystem,
  durableStartParameters,
} from '../../control/store/durable-filesystem.ts'

const { counted } = vi.hoisted(() => ({ counted: { syncs: 0 } }))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  return {
    ...real,
    fsyncSync(file: number) {
      counted.syncs += 1
      real.fsyncSync(file)
    },
  }
})

test('each commit of the embedded store reaches the disk before it is acknowledged', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-sync-'))
  const database = await PGlite.create({
    fs: new DurableFilesystem(join(directory, 'data')),
    startParams: durableStartParameters,
  })
  try {
    await database.exec('create table t (n int)')
    for (let commit = 1; commit <= 5; commit += 1) {
      const before = counted.syncs
      await database.query('insert into t values ($1)', [commit])
      expect(counted.syncs).toBeGreaterThan(before)
    }
    const reading = counted.syncs
    await database.query('select * from t')
    expect(counted.syncs).toBe(reading)
  } finally {
    await database.close()
    rmSync(directory, { recursive: true, force: true })
  }
})
