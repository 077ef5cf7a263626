/** The agent that SSH_AUTH_SOCK names, by way of ssh-add: it knows every kind of agent, and how to ask it. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { findProgram } from '../find-program.ts'
import type { HomeFiles } from '../home.ts'

/** One that asks somebody first may take its time; one that hangs must not hang us. */
const answerMs = 30_000

export interface Agent {
  /** Whether it holds the key that the home has now. Rejects if it does not answer. */
  holds(files: HomeFiles): Promise<boolean>
  /** Puts key and certificate in, for so long. */
  add(files: HomeFiles, forMs: number): Promise<void>
  /** Takes both out; nothing happens where they are not in. */
  remove(files: HomeFiles): Promise<void>
}

/** Undefined: there is none, or no ssh-add to speak to it. */
export function findAgent(environment: NodeJS.ProcessEnv): Agent | undefined {
  const program = findProgram('ssh-add', environment)
  if (program === undefined || (environment['SSH_AUTH_SOCK'] ?? '') === '') return undefined
  const run = async (...words: string[]): Promise<string> => {
    const options = { env: environment, timeout: answerMs, maxBuffer: 4 * 1024 * 1024 }
    const ran = promisify(execFile)(program, words, options)
    ran.child.stdin?.end()
    return (await ran).stdout
  }
  const holds = async ({ ssh }: HomeFiles): Promise<boolean> => {
    if (!existsSync(ssh.publicKey)) return false
    const [, blob = ''] = readFileSync(ssh.publicKey, 'latin1').split(/\s+/)
    const listed = await run('-L').catch((error: unknown) => {
      // 1: it has no keys; 2: it does not answer.
      if ((error as { code?: unknown }).code === 1) return ''
      throw unreachable(error)
    })
    return listed.split('\n').some((line) => line.split(' ')[1] === blob)
  }
  return {
    holds,
    async add({ ssh }, forMs) {
      const seconds = String(Math.max(1, Math.floor(forMs / 1_000)))
      await run('-q', '-t', seconds, ssh.key).catch((error: unknown) => {
        throw unreachable(error)
      })
    },
    async remove(files) {
      if (await holds(files)) await run('-q', '-d', files.ssh.key)
    },
  }
}

/** The same for who asked for one. Throws `client-missing`. */
export function requireAgent(environment: NodeJS.ProcessEnv): Agent {
  const agent = findAgent(environment)
  if (agent !== undefined) return agent
  throw new SallyportError('client-missing', 'no SSH agent', {
    clientMessage:
      'there is no SSH agent here: SSH_AUTH_SOCK names none, or ssh-add is not on PATH',
    hint: 'start one: eval "$(ssh-agent)"; ssh needs none, for it finds the key in the home',
  })
}

function unreachable(error: unknown): SallyportError {
  const said = (error as { stderr?: unknown }).stderr
  const why = typeof said === 'string' ? said.trim() : String(error)
  return new SallyportError('client-missing', `ssh-add: ${why}`, {
    clientMessage: `the SSH agent did not do it: ${why || 'no answer in time'}`,
    hint: 'look at it: ssh-add -l; ssh needs none, for it finds the key in the home',
    cause: error,
  })
}
