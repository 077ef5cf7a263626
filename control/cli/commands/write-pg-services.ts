import { chmodSync, existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { readPrivateFile, writePrivateFile } from '../../../protocols/kit/private-file.ts'
import type { ResourceView } from '../../api/shapes.ts'
import type { Cli } from '../cli.ts'
import { counted } from '../counted.ts'
import type { Home } from '../home.ts'
import { readPages } from '../pages.ts'
import { formatServices, mergeServices, serviceFile, type PgSection } from '../pg-service-file.ts'
import { printable } from '../printable.ts'
import { psqlEnvironment } from '../psql-invocation.ts'
import { withApi } from '../with-api.ts'
import { writeKeyDer } from '../write-home.ts'

const fileBytesMax = 4 * 1024 * 1024

/** `sally pg-service [--write]` */
export function declarePgServices(command: Command, cli: Cli): void {
  command
    .option('--write', 'into the service file, leaving what others wrote there')
    .option('--names', 'without hostaddr, for pgjdbc; *.<domain> has to resolve here')
    .addHelpText(
      'after',
      '\nThe file is PGSERVICEFILE, or ~/.pg_service.conf. Then every program of libpq knows the resource:' +
        '\n  psql service=orders-db' +
        "\n  psql 'service=orders-db user=write~orders-db'      with the grant at that level" +
        '\n  jdbc:postgresql://?service=orders-db               as URL in DBeaver; wants --names where the proxy is an address' +
        '\nIt holds no secret: the certificate in your home is what lets you in, while you have a grant.',
    )
    .action(async (options: { write?: boolean; names?: boolean }) => {
      const services = await withApi(cli, async ({ api, home }) => {
        // A home of an earlier version has none.
        if (options.write === true) writeKeyDer(home.files, readPrivateFile(home.files.key))
        const { items } = await readPages<
          ResourceView,
          { items: ResourceView[]; next: string | null }
        >({ limit: '100', all: true }, (query) => api.call('resources', { query }))
        return items
          .filter(({ protocol }) => protocol === 'postgres')
          .map((resource) => serviceOf(home, resource, options.names === true))
      })
      const file = serviceFile(cli.environment)
      const written = options.write === true
      const taken = written ? write(file, services) : []
      cli.answer({ file, written, taken, services }, () =>
        written
          ? `${counted(services.length - taken.length, 'service')} in ${file}`
          : services.length === 0
            ? '# no PostgreSQL that you can reach or ask for: sally resources'
            : formatServices(services),
      )
      for (const name of taken) {
        cli.note(
          `${cli.paintNote('warning:', 'yellow')} ${printable(name)} is left out: ${printable(file)} has another section of that name`,
        )
      }
      const first = services.find(({ service }) => !taken.includes(service))?.service
      if (first === undefined) return
      const how = written
        ? `try it: psql service=${first}`
        : `sally pg-service --write puts them into ${printable(file)}`
      cli.note(cli.paintNote(how, 'dim'))
    })
}

const keywordOf: Readonly<Record<string, string>> = {
  PGHOST: 'host',
  PGHOSTADDR: 'hostaddr',
  PGPORT: 'port',
  PGDATABASE: 'dbname',
  PGUSER: 'user',
  PGSSLMODE: 'sslmode',
  PGSSLROOTCERT: 'sslrootcert',
  PGSSLCERT: 'sslcert',
  PGSSLKEY: 'sslkey',
}

/** What `sally connect` tells psql, under the names that a service file has for it. */
function serviceOf(home: Home, resource: ResourceView, byName: boolean): PgSection {
  const environment = psqlEnvironment(home, {
    resource: resource.name,
    hostname: resource.hostname,
    database: resource.tags['database'],
  })
  // pgjdbc refuses a whole section for one key that it does not know, and spells this one otherwise.
  delete environment['PGGSSENCMODE']
  if (byName) delete environment['PGHOSTADDR']
  environment['PGSSLKEY'] = home.files.keyDer
  const keywords = Object.entries(environment).map(([variable, value]) => {
    const keyword = keywordOf[variable]
    if (keyword === undefined) throw new Error(`${variable} has no keyword`)
    // oxlint-disable-next-line no-control-regex -- these are what must not be in it
    if (/[\u0000-\u001f\u007f]/.test(value) || value !== value.trim()) {
      throw new SallyportError('config-invalid', `${keyword} cannot be in a service file`, {
        clientMessage: `${keyword}=${JSON.stringify(value)} cannot be written into a service file`,
        hint: `use it without one: sally connect ${resource.name}`,
      })
    }
    return [keyword, value] as const
  })
  return { service: resource.name, keywords: Object.fromEntries(keywords) }
}

/** Whole or not at all; where the file is a link, what it points to. Returns the services that were left out. */
function write(file: string, services: readonly PgSection[]): readonly string[] {
  if (!existsSync(file)) {
    writePrivateFile(file, mergeServices('', services, file).text)
    return []
  }
  const path = realpathSync(file)
  const { mode, size } = statSync(path)
  if (size > fileBytesMax) {
    throw new SallyportError('config-invalid', `${path} is too large`, {
      clientMessage: `${path} is larger than ${fileBytesMax} bytes; it was left alone`,
    })
  }
  const before = readText(path)
  const { text, taken } = mergeServices(before, services, file)
  if (text !== before) {
    writePrivateFile(path, text)
    chmodSync(path, mode & 0o777)
  }
  return taken
}

/** What cannot be read as it is could not be written back as it was. */
function readText(path: string): string {
  const bytes = readFileSync(path)
  const text = bytes.toString('utf8')
  if (bytes.equals(Buffer.from(text))) return text
  throw new SallyportError('config-invalid', `${path} is not UTF-8`, {
    clientMessage: `${path} is not UTF-8; it was left alone`,
    hint: 'convert it (iconv), or put what sally pg-service prints into it yourself',
  })
}
