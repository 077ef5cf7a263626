/** What there is to see on the stand-in: as on the real web1, but only in memory, and nobody changes it. */
import type { Clock, Timer } from '../../../protocols/kit/clock.ts'
import { accessLine, accessLineMs, readmeOf, siteConf } from '../web1-homes.ts'

const logLinesMax = 500
export const accessLog = 'site/logs/access.log'

export interface Files {
  /** Lines of a file by its path below an account's home; undefined if there is none. */
  read(account: string, path: string): readonly string[] | undefined
  /** Names in a directory, folders with a slash; undefined if there is none. */
  list(path: string): readonly string[] | undefined
  /** Calls `line` with each new line of the access log, until the result is called. */
  follow(line: (text: string) => void): () => void
  close(): void
}

export function createFiles(clock: Clock): Files {
  const log: string[] = []
  const followers = new Set<(text: string) => void>()
  const paths = ['README', 'site/site.conf', accessLog]
  let count = 0
  let timer: Timer
  const grow = (): void => {
    const line = accessLine(count++, clock)
    log.push(line)
    if (log.length > logLinesMax) log.shift()
    for (const follower of followers) follower(line)
    timer = clock.startTimer(accessLineMs, grow)
  }
  grow()
  return {
    read(account, path) {
      if (path === 'README') return linesOf(readmeOf(account, false))
      if (path === 'site/site.conf') return linesOf(siteConf)
      return path === accessLog ? log : undefined
    },
    list(path) {
      const prefix = path === '' ? '' : `${path}/`
      const inside = paths.filter((each) => each.startsWith(prefix))
      const names = inside.map((each) => each.slice(prefix.length).replace(/\/.*/, '/'))
      return inside.length === 0 ? undefined : [...new Set(names)]
    },
    follow(line) {
      followers.add(line)
      return () => void followers.delete(line)
    },
    close: () => timer.cancel(),
  }
}

function linesOf(text: string): string[] {
  return text.trimEnd().split('\n')
}
