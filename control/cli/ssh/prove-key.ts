import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { sshKeyProofNamespace } from '../../api/ssh.ts'
import type { Cli } from '../cli.ts'
import { findProgram } from '../find-program.ts'

const proofBytesMax = 16 * 1024

/**
 * Has ssh-keygen sign a text with a key: the private one beside the public file, the agent's, or the one in hardware, which it asks to be
 * touched. `file` undefined: only the agent can have it. Rejects with `client-missing` or `usage`.
 */
export async function proveSshKey(
  cli: Cli,
  key: { readonly line: string; readonly file: string | undefined },
  text: string,
): Promise<string> {
  const program = findProgram('ssh-keygen', cli.environment)
  if (program === undefined) {
    throw new SallyportError('client-missing', 'ssh-keygen is not on PATH', {
      clientMessage: 'ssh-keygen is not installed (it is not on PATH)',
      hint: 'install it: sudo apt-get install openssh-client',
    })
  }
  const folder = mkdtempSync(join(tmpdir(), 'sally-key-'))
  try {
    const given = join(folder, 'key.pub')
    writeFileSync(given, `${key.line}\n`, { mode: 0o600 })
    const words = ['-Y', 'sign', '-n', sshKeyProofNamespace, '-f', key.file ?? given]
    const { code, out, said } = await signWith(cli, program, words, text)
    if (code === 0) return out
    throw new SallyportError('usage', `ssh-keygen ended with ${code}: ${said}`, {
      clientMessage: `ssh-keygen did not sign with this key: ${said.trim().split('\n').at(-1) ?? ''}`,
      hint:
        key.file === undefined
          ? 'the agent has to hold it: ssh-add; or name the file of the key instead of -'
          : 'its private key has to be beside the file, in hardware at hand, or in the agent: ssh-add',
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** It asks for a passphrase or a touch on the terminal itself. */
function signWith(
  cli: Cli,
  program: string,
  words: readonly string[],
  text: string,
): Promise<{ code: number | null; out: string; said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { env: cli.environment, stdio: ['pipe', 'pipe', 'pipe'] })
    let [out, said] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      out = (out + chunk).slice(0, proofBytesMax)
    })
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      said = (said + chunk).slice(-proofBytesMax)
      if (cli.interactive && !cli.json) cli.writeError(chunk)
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, said }))
    child.stdin.on('error', () => undefined)
    child.stdin.end(text)
  })
}
