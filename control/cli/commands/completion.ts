import { Argument, type Command } from 'commander'
import { catalog } from '../catalog.ts'
import type { Cli } from '../cli.ts'
import { completionScript, shells, type Shell } from '../completion-scripts.ts'

/** `sally completion bash|zsh|fish` */
export function declareCompletion(command: Command, cli: Cli): void {
  command
    .addArgument(new Argument('<shell>', 'whose script').choices(shells))
    .addHelpText(
      'after',
      '\nbash: source <(sally completion bash)      in ~/.bashrc' +
        '\nzsh:  source <(sally completion zsh)       in ~/.zshrc, after compinit' +
        '\nfish: sally completion fish | source       in ~/.config/fish/config.fish',
    )
    .action(async (shell: Shell) => {
      const { createProgram } = await import('../program.ts')
      const program = await createProgram(cli, catalog, { write: () => undefined })
      const script = completionScript(shell, program)
      cli.answer({ shell, script }, () => script.trimEnd())
    })
}
