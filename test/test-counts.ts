import { z } from 'zod'

export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** The part of vitest's JSON report that is counted. */
const reportShape = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  testResults: z.array(
    z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) }),
  ),
})

/** A format check, the linter, the type checker: each counts as one test. */
export function countsOfCheck(exitCode: number): Counts {
  return { passed: exitCode === 0 ? 1 : 0, failed: exitCode === 0 ? 0 : 1, skipped: 0 }
}

/**
 * What a suite did. A file that failed before or after its tests counts as a failed test, and so does a run that failed without
 * saying which: a failure never sums up to zero.
 */
export function countsOfReport(report: unknown, exitCode: number): Counts {
  const parsed = reportShape.safeParse(report)
  if (!parsed.success) return { passed: 0, failed: 1, skipped: 0 }
  const { testResults, ...sums } = parsed.data
  const failedFiles = testResults.filter(
    (file) =>
      file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length
  const failed = sums.numFailedTests + failedFiles
  return {
    passed: sums.numPassedTests,
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    skipped: sums.numPendingTests + sums.numTodoTests,
  }
}

export function add(left: Counts, right: Counts): Counts {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  }
}

export function summaryOf(counts: Counts): string {
  const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`
  return `${counts.passed} passed, ${counts.failed} failed${skipped}`
}
