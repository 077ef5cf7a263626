import { isAbsolute, join, relative } from 'node:path'
import type { DemoReady } from './ready-file.ts'
import { shopDatabase } from './shop.ts'

const sallyScript = join(import.meta.dirname, '..', '..', 'control', 'cli', 'sally')

/** Commands that can be pasted as they are, from the directory the demo was started in. */
export function whatToTry(ready: DemoReady): string {
  const home = (name: string): string => {
    const person = ready.people.find(({ email }) => email.startsWith(`${name}@`))
    return person?.home ?? ''
  }
  const as = (name: string): string =>
    `SALLY_HOME=${shellPath(home(name))} ${shellPath(sallyScript)}`
  const resource = ready.resources[0]!
  const connection = [
    `host=${resource.hostname}`,
    `hostaddr=${ready.proxy.host}`,
    `port=${ready.proxy.ports.postgres}`,
    `dbname=${shopDatabase}`,
    'sslmode=verify-full',
    `sslrootcert=${shortPath(ready.caFile)}`,
    `sslcert=${shortPath(join(home('dev'), 'cert.pem'))}`,
    `sslkey=${shortPath(join(home('dev'), 'key.pem'))}`,
  ]
  const lines = [
    `Sallyport is up. Try, in another terminal in this directory:`,
    '',
    '# what dev may reach, and a session under the standing read grant (with any psql)',
    `${as('dev')} resources`,
    `${as('dev')} connect ${resource.name} -- -c 'select name, email from customers limit 3'`,
    '',
    '# the same with plain psql',
    `psql "${connection.join(' ')}" -c 'select status, count(*) from orders group by 1'`,
    '',
    '# one minute of write access, and what happens when it ends',
    `${as('admin')} grant dev@example.test ${resource.name} --level write --for 1m --reason 'restock'`,
    `${as('dev')} connect ${resource.name} --level write -- -c 'select pg_sleep(300)'`,
    '',
    '# what was done, and that nobody has changed the record of it',
    `${as('auditor')} sessions`,
    `${as('auditor')} audit search customers`,
    `${as('auditor')} audit verify`,
    '',
    `people: ${ready.people.map(({ email }) => email).join(', ')}`,
    `control: ${ready.control.url}   PostgreSQL through the proxy: ${ready.proxy.host}:${ready.proxy.ports.postgres}`,
    'Ctrl-C stops everything.',
  ]
  return lines.join('\n')
}

function shortPath(path: string): string {
  const here = relative(process.cwd(), path)
  return here.startsWith('..') || isAbsolute(here) ? path : here
}

function shellPath(path: string): string {
  const short = shortPath(path)
  return /^[\w@%+=:,./-]+$/.test(short) ? short : `'${short.replaceAll("'", `'\\''`)}'`
}
