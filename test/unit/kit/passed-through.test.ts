import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { proxyProgram } from '../../../deploy/programs.ts'

const run = promisify(execFile)
const kit = join(import.meta.dirname, '../../../protocols/kit/passed-through.ts')

/** Reads a file in chunks as a socket is read, with some of it in use and a heap of its own around it. */
const program = `
import { constants, PerformanceObserver } from 'node:perf_hooks'
import { passedThrough } from ${JSON.stringify(kit)}
const counts = process.argv.includes('counted')
const heap = Array.from({ length: 200_000 }, (_, at) => ({ at, text: ['x' + at] }))
globalThis.gc()
let whole = 0
new PerformanceObserver((list) => {
  for (const { detail } of list.getEntries()) {
    if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) whole += 1
  }
}).observe({ entryTypes: ['gc'] })
const inUse = []
for (let read = 0; read < 12_000; read += 1) {
  inUse[read % 16] = Buffer.alloc(65_536)
  if (counts) passedThrough(65_536)
  if (read % 8 === 0) await new Promise(setImmediate)
}
await new Promise(setImmediate)
console.log(JSON.stringify({ whole, lives: heap.length }))
`

test('what passes through a proxy has its whole heap collected seldom, and often only if nobody counts it', async () => {
  const directory = tmpdir()
  const settings = { dataDirectory: directory, logFile: join(directory, 'log'), flags: [] }
  const { command } = proxyProgram({ ...settings, stopMs: 1 })
  const flags = command.slice(1, command.indexOf('--import'))
  const collections = async (...args: string[]): Promise<number> => {
    const node = [...flags, '--input-type=module', '--eval', program, '--', ...args]
    const { stdout } = await run(process.execPath, node)
    return (JSON.parse(stdout) as { whole: number }).whole
  }
  const [counted, uncounted] = await Promise.all([collections('counted'), collections()])
  expect(uncounted).toBeGreaterThan(3)
  expect(counted).toBeLessThan(uncounted / 2)
})
