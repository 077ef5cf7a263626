import { rmSync } from 'node:fs'
import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cli } from '../cli.ts'
import { homeDirectory, homeFiles } from '../home.ts'
import { printable } from '../printable.ts'
import { findAgent } from '../ssh/agent.ts'
import { withApi } from '../with-api.ts'

/** `sally logout`: ends the login at control, and then here. The home keeps where control is. */
export function declareLogout(command: Command, cli: Cli): void {
  command.action(async () => {
    const files = homeFiles(homeDirectory(cli.environment))
    let endSessionUrl: string | null = null
    try {
      const answer = await withApi(cli, ({ api }) => api.call('logout', { body: {} }))
      endSessionUrl = answer.endSessionUrl
    } catch (error) {
      // What has ended already needs no ending.
      if (!(error instanceof SallyportError) || !error.code.startsWith('evidence-')) throw error
      if (error.code === 'evidence-missing') throw error
    }
    // An agent that does not answer keeps what control has ended already.
    await findAgent(cli.environment)
      ?.remove(files)
      .catch(() => undefined)
    const { ssh, certificate, key, keyDer } = files
    for (const file of [ssh.certificate, ssh.key, ssh.publicKey, certificate, key, keyDer]) {
      rmSync(file, { force: true })
    }
    cli.answer(
      { done: true, home: files.directory, endSessionUrl },
      () => `signed out at ${files.directory}`,
    )
    if (endSessionUrl !== null) {
      cli.note(
        cli.paintNote(
          `your browser may still be signed in there: ${printable(endSessionUrl)}`,
          'dim',
        ),
      )
    }
  })
}
