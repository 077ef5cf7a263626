import { readFileSync } from 'node:fs'

/**
 * Whether new terminals of this system belong to the group `tty` by themselves, as Debian mounts them (`gid=5`, devpts in mount(8)). Where they do
 * not, sshd tries to give them to it, which only root may. `mounts` is the text of /proc/mounts; true where there is none.
 */
export function terminalsHaveGroup(mounts: string | undefined = readMounts()): boolean {
  const last = mounts
    ?.split('\n')
    .map((line) => line.split(' '))
    .findLast(([, place, type]) => place === '/dev/pts' && type === 'devpts')
  return last === undefined || /(?:^|,)gid=[1-9]/.test(last[3] ?? '')
}

function readMounts(): string | undefined {
  try {
    return readFileSync('/proc/mounts', 'utf8')
  } catch {
    return undefined
  }
}
