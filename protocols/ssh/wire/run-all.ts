/** Runs every step, also after one that throws: each has something of its own to end. What the first one threw is thrown then. */
export function runAll(steps: Iterable<() => void>): void {
  const thrown: unknown[] = []
  for (const step of steps) {
    try {
      step()
    } catch (error) {
      thrown.push(error)
    }
  }
  if (thrown.length > 0) throw thrown[0]
}
