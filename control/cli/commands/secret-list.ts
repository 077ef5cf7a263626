import type { Command } from 'commander'
import { readSealedSecrets, sealedSecretsIn } from '../../api/sealed-secrets.ts'
import type { Cli } from '../cli.ts'
import { printable } from '../printable.ts'
import { proxyDataDirectory, proxyDataOption } from '../secret-path.ts'

/** `sally secret list [--proxy-data DIR]`: names only. */
export function declareSecretList(command: Command, cli: Cli): void {
  command.option(...proxyDataOption).action((options: { proxyData?: string }) => {
    const directory = proxyDataDirectory(options.proxyData, cli.environment)
    const { file, keyFile } = sealedSecretsIn(directory)
    const references = [...readSealedSecrets(file, keyFile).keys()]
      .map((path) => `sealed:${path}`)
      .sort()
    cli.answer({ file, items: references.map((reference) => ({ reference })) }, () =>
      references.length === 0
        ? `no secrets in ${file}\nput one there: sally secret set sealed:NAME --proxy-data DIR`
        : references.map(printable).join('\n'),
    )
  })
}
