import type { z } from 'zod'
import { resourcesFile } from '../api/resource.ts'
import { readYamlFile } from './read-yaml-file.ts'

export type ResourcesFile = z.output<typeof resourcesFile>

/** What `sally apply` takes. Throws `config-invalid` with all issues, each with its line and column (from 1). */
export function readResourcesFile(text: string, fileName: string): ResourcesFile {
  return readYamlFile(text, fileName, resourcesFile)
}
