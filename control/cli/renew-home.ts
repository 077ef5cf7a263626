import type { Cli } from './cli.ts'
import type { HomeKeys } from './home-keys.ts'
import { homeFiles, type HomeConfig } from './home.ts'
import { printable } from './printable.ts'
import { findAgent } from './ssh/agent.ts'
import { writeHome, type IssuedFiles } from './write-home.ts'

/**
 * Writes one's own home, and keeps the SSH agent in step with it: the key that it had goes out, and the new one goes in where the agent had
 * that one or `intoAgent` says so. An agent that fails costs a warning: what control has issued is not thrown away for it.
 */
export async function renewHome(
  cli: Cli,
  directory: string,
  home: { config: HomeConfig; keys: HomeKeys; issued: IssuedFiles & { expiresAtMs: number } },
  intoAgent: boolean,
): Promise<{ inAgent: boolean }> {
  const files = homeFiles(directory)
  const agent = findAgent(cli.environment)
  const warn = (error: unknown): false => {
    const why = error instanceof Error ? error.message : String(error)
    cli.note(`${cli.paintNote('warning:', 'yellow')} SSH agent: ${printable(why)}`)
    return false
  }
  const had = await (agent?.holds(files) ?? Promise.resolve(false)).catch(
    intoAgent ? warn : () => false,
  )
  if (had) await agent?.remove(files).catch(warn)
  writeHome(directory, home.config, home.keys, home.issued)
  if (agent === undefined || home.issued.ssh === undefined || !(had || intoAgent)) {
    return { inAgent: false }
  }
  const leftMs = home.issued.expiresAtMs - cli.clock.wallMs()
  const inAgent = await agent.add(files, leftMs).then(() => true, warn)
  return { inAgent }
}
