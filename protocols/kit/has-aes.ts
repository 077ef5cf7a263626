import { readFileSync } from 'node:fs'

/** Whether the processor has instructions for AES. Only Linux says; elsewhere, and where it does not say, it has. */
export function hasAes(): boolean {
  let text: string
  try {
    text = readFileSync('/proc/cpuinfo', 'latin1')
  } catch {
    return true
  }
  return saysAes(text)
}

/** What /proc/cpuinfo says: `flags` on x86, `Features` on Arm. */
export function saysAes(text: string): boolean {
  const words = /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1]
  return words === undefined || words.trim().split(/\s+/).includes('aes')
}
