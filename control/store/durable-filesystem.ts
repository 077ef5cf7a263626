/**
 * PGlite's file system for Node, with the one thing it lacks: fsync. PGlite starts PostgreSQL with `-F` (no fsync) and its
 * NODEFS has no such operation, so that an acknowledged commit would survive `kill -9` but not a power cut. A proxy
 * forgets a segment once control acknowledged it; that must not be lost.
 */
import { closeSync, fsyncSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { NodeFS } from '@electric-sql/pglite/nodefs'

interface NodeStream {
  readonly nfd: number
}
interface StreamOperations {
  fsync?: (stream: NodeStream) => number
}

export class DurableFilesystem extends NodeFS {
  override async init(...[pg, options]: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(pg, options)
    return {
      emscriptenOpts: {
        ...emscriptenOpts,
        preRun: [
          ...(emscriptenOpts.preRun ?? []),
          (module) => {
            const { stream_ops: operations } = module.NODEFS as unknown as {
              stream_ops: StreamOperations
            }
            operations.fsync = (stream) => {
              fsyncSync(stream.nfd)
              return 0
            }
          },
        ],
      },
    }
  }
}

/** `wal_sync_method` must be fsync: emscripten's fdatasync does nothing and says it did. */
export const durableStartParameters: string[] = [
  ...PGlite.defaultStartParams.filter((parameter) => parameter !== '-F'),
  ...['fsync=on', 'wal_sync_method=fsync', 'synchronous_commit=on', 'full_page_writes=on'].flatMap(
    (setting) => ['-c', setting],
  ),
]

/** Puts a whole directory onto the disk: initdb of PGlite does not. */
export function syncDirectory(directory: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) syncDirectory(path)
    else if (entry.isFile()) syncFile(path)
  }
  syncFile(directory)
}

function syncFile(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
