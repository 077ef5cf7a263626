import { dirname, join } from 'node:path'
import type { DemoReady } from './ready-file.ts'
import { shopDatabase } from './shop.ts'
import { realWeb1Command } from './web1.ts'

const sallyScript = join(import.meta.dirname, '..', '..', 'control', 'cli', 'sally')

/** The tour of the README, with this demo's paths and port: commands that can be pasted as they are. */
export function whatToTry(ready: DemoReady, hasStandIn: boolean): string {
  const resource = ready.resources[0]!.name
  const homes = ready.people.map(({ email, home }) => `${email.split('@')[0]}=${shellPath(home)}`)
  const lines = [
    `Sallyport is up. Try, in another terminal:`,
    '',
    `export ${homes.join(' ')}`,
    `export PATH=${shellPath(dirname(sallyScript))}:$PATH`,
    '',
    ...tour(ready, resource, hasStandIn),
    '',
    `people: ${ready.people.map(({ email }) => email).join(', ')}`,
    `control: ${ready.control.url}   PostgreSQL through the proxy: ${ready.proxy.host}:${ready.proxy.ports.postgres}, SSH: port ${ready.proxy.ports.ssh}, HTTPS: port ${ready.proxy.ports.http}`,
    'Ctrl-C stops everything.',
  ]
  return lines.join('\n')
}

/** The same commands as in the README's five minutes; a test holds them together. */
function tour(ready: DemoReady, resource: string, hasStandIn: boolean): string[] {
  const { host, ports } = ready.proxy
  const connection = [
    `host=${resource}.${ready.domain} hostaddr=${host} port=${ports.postgres} dbname=${shopDatabase}`,
    'sslmode=verify-full sslrootcert=$dev/ca.pem sslcert=$dev/cert.pem sslkey=$dev/key.pem',
  ].join(' ')
  return [
    '# what dev may ask for; reading is approved at once',
    'SALLY_HOME=$dev sally resources',
    `SALLY_HOME=$dev sally why ${resource}`,
    `SALLY_HOME=$dev sally request ${resource} --level read --for 10m --reason 'ticket 7' --wait`,
    `SALLY_HOME=$dev sally connect ${resource} -- -c 'select name, email from customers limit 3'`,
    '',
    '# the same with plain psql, and with a service file',
    `psql "${connection}" -c 'select status, count(*) from orders group by 1'`,
    'SALLY_HOME=$dev sally pg-service --write',
    `psql service=${resource} -c 'select count(*) from payments'`,
    '',
    '# ten seconds of access, and what happens when they end',
    `SALLY_HOME=$dev sally request ${resource} --level read --for 10s --reason 'see it end' --wait`,
    `SALLY_HOME=$dev sally connect ${resource} -- -c 'select pg_sleep(60)'`,
    '',
    '# writing takes the yes of a lead, and never one’s own',
    `SALLY_HOME=$dev sally request ${resource} --level write --for 5m --reason 'restock' --wait & sleep 2`,
    'SALLY_HOME=$lead sally requests --decide',
    'request=$(SALLY_HOME=$lead sally requests --decide --ids)',
    'SALLY_HOME=$dev sally approve $request',
    "SALLY_HOME=$lead sally approve $request --comment 'go ahead'; wait",
    `SALLY_HOME=$dev sally connect ${resource} --level write -- -c 'update products set stock = stock + 10 where id = 1'`,
    '',
    '# watching a session while it runs',
    `SALLY_HOME=$dev sally connect ${resource} -- -c 'select count(*) from orders' -c 'select pg_sleep(5)' & sleep 2`,
    'SALLY_HOME=$auditor sally sessions watch $(SALLY_HOME=$auditor sally sessions --live --ids); wait',
    '',
    ...(hasStandIn ? standInNote : []),
    ...shellTour,
    ...appTour(ready),
    '# deleting takes two',
    `SALLY_HOME=$dev sally request ${resource} --level delete --reason 'clean up'`,
    'request=$(SALLY_HOME=$lead sally requests --decide --ids)',
    'SALLY_HOME=$lead sally approve $request',
    'SALLY_HOME=$admin sally approve $request',
    '',
    '# giving it back',
    `SALLY_HOME=$dev sally give-back ${resource}`,
    `SALLY_HOME=$dev sally connect ${resource}`,
    '',
    '# what was done, and that nobody has changed the record of it',
    'SALLY_HOME=$auditor sally sessions',
    'SALLY_HOME=$auditor sally audit search customers',
    'SALLY_HOME=$auditor sally audit actions',
    'SALLY_HOME=$auditor sally audit verify',
    '',
    '# on call, and an admin who ends it while a query runs',
    `SALLY_HOME=$oncall sally request ${resource} --level read --reason 'incident 7'`,
    `SALLY_HOME=$oncall sally connect ${resource} -- -c 'select pg_sleep(300)' & sleep 2`,
    "SALLY_HOME=$admin sally revoke $(SALLY_HOME=$admin sally grants --person oncall@example.test --ids) --reason 'incident over'; wait",
  ]
}

const standInNote: readonly string[] = [
  '# web1 is a STAND-IN here, a few commands and no files to copy, because no sshd is installed. For a real one:',
  `#   ${realWeb1Command}`,
]

const shellTour: readonly string[] = [
  '# a shell: watched while it lasts, and replayed (with sally ssh-config --write also plain ssh, scp, rsync)',
  "SALLY_HOME=$dev sally request web1 --level read --for 10m --reason 'look at the log' --wait",
  "SALLY_HOME=$dev sally connect web1 -- -tt 'cat README; timeout 6 tail -n 3 -f site/logs/access.log' </dev/null & sleep 3",
  'session=$(SALLY_HOME=$auditor sally sessions --live --resource web1 --ids)',
  'SALLY_HOME=$auditor sally sessions watch $session; wait',
  'SALLY_HOME=$auditor sally replay $session',
  '',
]

function appTour({ people, resources, proxy }: DemoReady): string[] {
  const app = resources.find(({ protocol }) => protocol === 'http')
  if (app === undefined) return []
  const { name, hostname } = app
  const { email, password } = people[0]!
  return [
    '# a web app: by curl, and in a browser',
    `SALLY_HOME=$dev sally request ${name} --level read --for 10m --reason 'look it up' --wait`,
    `SALLY_HOME=$dev sally curl -s ${hostname}/api/echo`,
    `SALLY_HOME=$dev sally curl -s ${hostname}/pages -d title=News`,
    `SALLY_HOME=$auditor sally audit search --resource ${name}`,
    `#   https://${hostname}:${proxy.ports.http}/live as ${email}, password ${password}`,
    '#   (your browser does not know the certificates of a demo, and asks whether to go on)',
    '',
  ]
}

function shellPath(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}
