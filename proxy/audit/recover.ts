/** Reads the spool's directory at start: what earlier boots left, and in which state. */
import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { blobSuffix } from './blob-writer.ts'
import { Ledger, removeFile, type SegmentFile } from './ledger.ts'
import type { Line } from './outbox.ts'
import { readPosition, type Position } from './position.ts'
import { checkBlob } from './read-blob.ts'
import { recoverEpoch, type RecoveredEpoch } from './recover-epoch.ts'
import { parseSegmentFileName } from './segment-format.ts'
import type { SpoolHead } from './spool-types.ts'

export interface Recovered {
  /** Number of this boot. */
  boot: number
  /** Head of the epoch before; absent on the very first start. */
  previous: SpoolHead | undefined
  lostSessions: string[]
  damage: string[]
  /** Epochs that are not wholly shipped, oldest first. */
  lines: Line[]
  ledger: Ledger
}

/** Rejects with what the disk says. Changes nothing but for blobs that no record names. */
export async function recover(directory: string, key: Buffer): Promise<Recovered> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const damage: string[] = []
  const ledger = new Ledger()
  let position: Position | undefined
  let positionLost = false
  try {
    position = readPosition(directory, key)
  } catch (error) {
    positionLost = true
    damage.push(`position: ${error instanceof Error ? error.message : String(error)}`)
  }
  const names = (await readdir(directory)).toSorted()
  const epochs = new Map<string, SegmentFile[]>()
  for (const name of names) {
    const parsed = parseSegmentFileName(name)
    if (parsed === undefined) continue
    const segment = {
      ...parsed,
      path: join(directory, name),
      firstBatch: 0,
      lastBatch: -1,
      bytes: 0,
    }
    const segments = epochs.get(parsed.epoch) ?? []
    segments.push(segment)
    epochs.set(parsed.epoch, segments)
  }
  let previous = headOf(position)
  let last: RecoveredEpoch | undefined
  let boot = position?.boot ?? 0
  const recovered: RecoveredEpoch[] = []
  for (const [epoch, segments] of epochs) {
    const known = positionLost ? undefined : (position?.acknowledged[epoch] ?? 0)
    const one = await recoverEpoch(segments, key, known)
    for (const segment of segments) ledger.add(segment)
    damage.push(...one.damage)
    recovered.push(one)
    boot = Math.max(boot, one.line.boot)
    if (one.head !== undefined) {
      previous = one.head
      last = one
    }
  }
  damage.push(...(await recoverBlobs(directory, names, key, recovered, ledger)))
  return {
    boot: boot + 1,
    previous,
    lostSessions: [...(last?.openSessions ?? [])],
    damage,
    lines: recovered.map(({ line }) => line),
    ledger,
  }
}

function headOf(position: Position | undefined): SpoolHead | undefined {
  if (position?.head === undefined) return undefined
  return { ...position.head, link: Buffer.from(position.head.link, 'hex') }
}

/** Keeps blobs that batches to be shipped name, removes the others; says what is missing or damaged. */
async function recoverBlobs(
  directory: string,
  names: readonly string[],
  key: Buffer,
  epochs: readonly RecoveredEpoch[],
  ledger: Ledger,
): Promise<string[]> {
  const damage: string[] = []
  const wanted = new Map<string, { epoch: string; batch: number }>()
  for (const { line, blobs } of epochs) {
    for (const [sha256, batch] of blobs) wanted.set(sha256, { epoch: line.epoch, batch })
  }
  const found = new Set<string>()
  for (const name of names) {
    if (!name.endsWith(blobSuffix)) continue
    const path = join(directory, name)
    const { size } = await stat(path)
    try {
      const facts = await checkBlob(path, key)
      const place = facts === undefined ? undefined : wanted.get(facts.sha256)
      if (facts === undefined || place === undefined) {
        await removeFile(path)
        continue
      }
      found.add(facts.sha256)
      ledger.addBlob({ path, ...facts, ...place, bytes: size })
    } catch (error) {
      damage.push(`${name}: ${error instanceof Error ? error.message : String(error)}`)
      epochs.at(-1)?.line.setAside.push({
        segment: { boot: 0, epoch: '', file: 0, firstBatch: 0, lastBatch: 0, path, bytes: size },
        offset: 0,
        end: size,
        readable: false,
        why: `${name}: a blob that was changed`,
      })
    }
  }
  for (const [sha256, { epoch, batch }] of wanted) {
    if (found.has(sha256)) continue
    damage.push(`blob ${sha256}, named by batch ${batch} of epoch ${epoch}, is missing`)
  }
  return damage
}
