/** Options that several commands share. */
import { Option } from 'commander'
import type { Level } from '../api/names.ts'

// Written out here so that help and completion need not load the schemas; the compiler holds it to them.
const levelNames: Record<Level, true> = { read: true, write: true, delete: true, admin: true }
export const levels = Object.keys(levelNames) as Level[]

export function levelOption(description: string): Option {
  return new Option('--level <level>', description).choices(levels)
}

export function reasonOption(): Option {
  return new Option('--reason <text>', 'why; it is kept in the audit').makeOptionMandatory()
}
