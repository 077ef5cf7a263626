import { existsSync, readFileSync, statSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { parseDuration } from '../../api/duration.ts'
import { sshKeyProofText } from '../../api/ssh.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { readInput } from '../read-input.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { proveSshKey } from '../ssh/prove-key.ts'
import { withApi } from '../with-api.ts'

const keyBytesMax = 16 * 1024

/** `sally ssh-key add FILE|- [--name TEXT] [--for DURATION]` */
export function declareSshKeyAdd(command: Command, cli: Cli): void {
  command
    .argument(
      '<file>',
      'a public key (id_ed25519.pub, or of a hardware key); - reads it from standard input',
    )
    .option('--name <text>', 'what it is called (default: its comment, or this machine’s name)')
    .option('--for <duration>', 'until it ends (default 90d, at most a year)')
    .addHelpText(
      'after',
      '\nThe key then identifies you at every proxy, as the certificate of sally login does. You prove that it is' +
        '\nyours: ssh-keygen signs with it, out of its file, the agent, or hardware that you touch.' +
        '\n\nExamples:\n  sally ssh-key add ~/.ssh/id_ed25519_sk.pub --name "blue token"\n  ssh-add -L | sally ssh-key add -',
    )
    .action(async (file: string, options: { name?: string; for?: string }) => {
      const publicFile = file === '-' ? undefined : publicFileOf(file)
      const line = firstKey(
        publicFile === undefined ? await readInput(keyBytesMax) : readBounded(publicFile),
        file,
      )
      const [type = '', base64 = '', ...comment] = line.split(/\s+/)
      const name = options.name ?? (comment.join(' ') || `${userInfo().username}@${hostname()}`)
      const forMs = options.for === undefined ? undefined : parseDuration(options.for)
      const key = await withApi(cli, async ({ api, progress }) => {
        const { person, realm } = await api.call('whoami')
        progress.end()
        const text = sshKeyProofText(realm, person.id)
        const proof = await proveSshKey(cli, { line: `${type} ${base64}`, file: publicFile }, text)
        return api.call('sshKeyAdd', {
          body: {
            ...{ publicKey: `${type} ${base64}`, proof, name: name.slice(0, 100) },
            ...(forMs === undefined ? {} : { forMs }),
          },
        })
      })
      cli.answer(key, () => {
        const ends = `${localTime(key.expiresAtMs)} (${relativeTime(key.expiresAtMs, cli.clock.wallMs())})`
        return [
          `${printable(key.name)} identifies ${printable(key.personEmail)} until ${ends}`,
          `key ${printable(key.fingerprint)}`,
        ].join('\n')
      })
    })
}

/** Whoever names the private key means the public one beside it. */
function publicFileOf(file: string): string {
  return !file.endsWith('.pub') && existsSync(`${file}.pub`) ? `${file}.pub` : file
}

function readBounded(file: string): string {
  if (statSync(file).size > keyBytesMax) throw notKey(file)
  return readFileSync(file, 'utf8')
}

/** An agent lists several: the first that is a key, and no certificate. */
function firstKey(text: string, file: string): string {
  const line = text
    .split(/\r?\n/)
    .map((one) => one.trim())
    .find((one) => /^(?:ssh-|ecdsa-|sk-)\S+ \S+/.test(one) && !/^\S+-cert-v01@/.test(one))
  if (line === undefined) throw notKey(file)
  return line
}

function notKey(file: string): SallyportError {
  const what = file === '-' ? 'standard input' : file
  return new SallyportError('usage', `no public key in ${what}`, {
    clientMessage: `${what} holds no public key of SSH (ssh-ed25519 AAAA…)`,
    hint: 'name an id_*.pub file; make one: ssh-keygen -t ed25519-sk, or -t ed25519',
  })
}
