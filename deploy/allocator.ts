/**
 * The memory allocator of the proxy. OpenSSL takes and frees 16 KiB for each TLS record; after a thousand sessions glibc's allocator
 * spends up to a sixth of the proxy's time on them, jemalloc (Debian: libjemalloc2) does not.
 */
import { existsSync } from 'node:fs'

export const allocatorPackage = 'libjemalloc2'

const libraries: Partial<Record<NodeJS.Architecture, string>> = {
  x64: '/usr/lib/x86_64-linux-gnu/libjemalloc.so.2',
  arm64: '/usr/lib/aarch64-linux-gnu/libjemalloc.so.2',
}

/** Where Debian's library is; undefined if it is not installed, or this is no Debian. */
export function allocatorFile(): string | undefined {
  const file = process.platform === 'linux' ? libraries[process.arch] : undefined
  return file !== undefined && existsSync(file) ? file : undefined
}

/** The environment with the allocator in it, if there is one and nobody chose another. */
export function withAllocator(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const file = allocatorFile()
  if (file === undefined || environment['LD_PRELOAD'] !== undefined) return environment
  return {
    // Memory that is free for a second goes back to the system.
    MALLOC_CONF: 'narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0',
    ...environment,
    LD_PRELOAD: file,
  }
}
