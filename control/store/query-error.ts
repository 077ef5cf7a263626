/** What the database said when it refused a statement; the same for both engines. */
export class QueryError extends Error {
  /** SQLSTATE, for example 23505 for a duplicate key. */
  readonly sqlState: string
  readonly constraint: string | undefined

  constructor(message: string, sqlState: string, constraint: string | undefined) {
    super(message)
    this.name = 'QueryError'
    this.sqlState = sqlState
    this.constraint = constraint
  }
}

export function isDuplicate(error: unknown): boolean {
  return error instanceof QueryError && error.sqlState === '23505'
}
