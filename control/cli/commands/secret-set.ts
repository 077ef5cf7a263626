import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { readSealedSecrets, sealedSecretsIn, writeSealedSecrets } from '../../api/sealed-secrets.ts'
import type { Cli } from '../cli.ts'
import { readHidden } from '../prompt.ts'
import { readInput } from '../read-input.ts'
import { proxyDataDirectory, proxyDataOption, sealedPath } from '../secret-path.ts'

const valueBytesMax = 65_536

/** `sally secret set REFERENCE [--proxy-data DIR]`; the value never comes from the command line. */
export function declareSecretSet(command: Command, cli: Cli): void {
  command
    .argument('<reference>', 'as the resource has it: sealed:orders-db/read')
    .option(...proxyDataOption)
    .addHelpText(
      'after',
      '\nThe value is asked for, or read from standard input (one line end at its end is left off):' +
        '\n  sally secret set sealed:orders-db/read < password-file',
    )
    .action(async (reference: string, options: { proxyData?: string }) => {
      const path = sealedPath(reference)
      const directory = proxyDataDirectory(options.proxyData, cli.environment)
      const { file, keyFile } = sealedSecretsIn(directory)
      // Before the question, so that nobody types a secret for nothing.
      readSealedSecrets(file, keyFile)
      const value = await readValue(cli, reference)
      // Read again: somebody may have set another one while this was typed.
      const secrets = new Map(readSealedSecrets(file, keyFile))
      const replaced = secrets.has(path)
      secrets.set(path, value)
      writeSealedSecrets(file, keyFile, secrets)
      cli.answer({ done: true, reference, replaced, file }, () =>
        replaced ? `replaced: ${reference} in ${file}` : `set: ${reference} in ${file}`,
      )
    })
}

async function readValue(cli: Cli, reference: string): Promise<string> {
  const value = cli.interactive
    ? await readHidden(cli, `value of ${reference} (not shown): `)
    : (await readInput(valueBytesMax)).replace(/\r?\n$/, '')
  if (value !== '') return value
  throw new SallyportError('usage', 'the secret is empty', {
    clientMessage: 'the secret is empty; nothing was changed',
    hint: 'pipe it in: sally secret set REFERENCE < file',
  })
}
