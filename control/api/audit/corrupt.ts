import { SallyportError } from '../../../protocols/kit/errors.ts'

/** Bytes of the audit that are not what format.ts says, and where. */
export class AuditCorrupt extends SallyportError {
  /** Byte offset in what was read. */
  readonly offset: number
  readonly problem: string

  constructor(offset: number, problem: string) {
    super('audit-corrupt', `audit is corrupt at byte ${offset}: ${problem}`)
    this.offset = offset
    this.problem = problem
  }
}
