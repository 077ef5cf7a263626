/** Before the first test file, also where vitest is run by itself. */
import { preparePackages } from '../deploy/prepare-packages.ts'

export function setup(): void {
  preparePackages(console.log)
}
