import { z } from 'zod'
import { flowsApply } from '../api/request.ts'
import type { FlowsFile } from '../api/flow.ts'
import { readYamlFile } from './read-yaml-file.ts'

// Not the whole file's own schema: that one says that a name is there twice, this one also where.
const file = z.strictObject({ flows: flowsApply.shape.flows })

/** What `sally flows apply` takes. Throws `config-invalid` with all issues, each with its line and column (from 1). */
export function readFlowsFile(text: string, fileName: string): FlowsFile {
  return readYamlFile(text, fileName, file)
}
