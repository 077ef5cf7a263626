/** `sally`: started as `<node> control/cli/main.ts …` (the script `sally` beside it finds the Node to use). */
import { lstatSync, mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'

// What is imported from here on is compiled once and then read from the person's own cache: it halves the start.
keepCompiledCode()
const { run } = await import('./run.ts')
await run(process.argv.slice(2))

function keepCompiledCode(): void {
  try {
    const base = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
    const directory = join(base, 'sallyport', 'code')
    // 0700: code that others could write is code that others could run as this person.
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const { mode, uid } = lstatSync(directory)
    // One that was there already: made by whom, and open to whom?
    if ((mode & 0o022) === 0 && uid === process.getuid?.()) enableCompileCache(directory)
  } catch {
    // Without a cache everything works, only slower.
  }
}
