/**
 * pg_service.conf (PostgreSQL manual, section 34.17): a section per resource, in a block between two marks that is
 * ours; what others wrote around it stays as it is, and goes first where it has the same name.
 */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { SallyportError } from '../../protocols/kit/errors.ts'

export interface PgSection {
  /** What `service=` names. */
  readonly service: string
  readonly keywords: Readonly<Record<string, string>>
}

const beginMark = '# sallyport: what is between these marks is written by: sally pg-service --write'
const endMark = '# sallyport: end'
const beginsOurs = /^# sallyport: what is between/
const endsOurs = /^# sallyport: end\s*$/

/** The user's service file, as libpq finds it. */
export function serviceFile(environment: NodeJS.ProcessEnv): string {
  return resolve(
    environment['PGSERVICEFILE'] || join(environment['HOME'] || homedir(), '.pg_service.conf'),
  )
}

/** libpq takes a line as it is: nothing in it can be quoted, and a file with one bad line is refused whole. */
export function formatServices(services: readonly PgSection[]): string {
  return services
    .map(({ service, keywords }) => {
      const lines = Object.entries(keywords).map(([key, value]) => `${key}=${value}`)
      return [`[${service}]`, ...lines].join('\n')
    })
    .join('\n\n')
}

export interface Merged {
  readonly text: string
  /** Services that somebody else has a section for already: theirs stays, ours is left out. */
  readonly taken: readonly string[]
}

/** The content of the file with our block replaced, or added at its end. Throws `config-invalid` for a broken block. */
export function mergeServices(
  content: string,
  services: readonly PgSection[],
  fileName: string,
): Merged {
  const lines = content === '' ? [] : content.replace(/\n$/, '').split('\n')
  const begin = lines.findIndex((line) => beginsOurs.test(line))
  const end = lines.findIndex((line, index) => index > begin && endsOurs.test(line))
  if (begin >= 0 && end < 0) {
    throw new SallyportError('config-invalid', `${fileName} has no end mark`, {
      clientMessage: `${fileName}:${begin + 1} begins sallyport’s part, but nothing ends it`,
      hint: `add a line ${JSON.stringify(endMark)} after its last section, then run this again`,
    })
  }
  const before = begin < 0 ? lines : lines.slice(0, begin)
  const after = begin < 0 ? [] : lines.slice(end + 1)
  const others = new Set([...before, ...after].flatMap((line) => sectionOf(line)))
  const ours = services.filter(({ service }) => !others.has(service))
  const taken = services.map(({ service }) => service).filter((service) => others.has(service))
  const gap = begin < 0 && before.length > 0 && before.at(-1) !== '' ? [''] : []
  const block = [beginMark, ...(ours.length > 0 ? [formatServices(ours)] : []), endMark]
  return { text: `${[...before, ...gap, ...block, ...after].join('\n')}\n`, taken }
}

function sectionOf(line: string): string[] {
  const name = /^\s*\[([^\]]+)\]/.exec(line)?.[1]
  return name === undefined ? [] : [name]
}
