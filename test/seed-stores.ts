import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import packageFile from '../package.json' with { type: 'json' }
import { copyTemplate } from './copy-template.ts'

const version = packageFile.dependencies['@electric-sql/pglite']

/**
 * Puts two new and empty embedded databases where `openStores({ dataDir })` would make them: initdb in WebAssembly takes seconds of
 * both processors for each. Control still migrates and fills them.
 */
export async function seedStores(dataDir: string): Promise<void> {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  for (const store of ['state', 'audit']) {
    await copyTemplate(`pglite-${version}`, join(dataDir, store), async (fresh) => {
      const database = await PGlite.create(fresh)
      await database.exec('checkpoint')
      await database.close()
    })
  }
}
