/** Completion scripts, made of the command tree: words only, no start of `sally` at each key. */
import type { Command } from 'commander'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

/** What may follow the words of a path ("", "grants", "sessions cut"). */
interface Node {
  readonly path: string
  readonly commands: readonly { word: string; summary: string }[]
  readonly options: readonly { word: string; summary: string; takesValue: boolean }[]
  /** Option → values that it takes. */
  readonly choices: ReadonlyMap<string, readonly string[]>
}

export function completionScript(shell: Shell, program: Command): string {
  const nodes = describe(program, '')
  switch (shell) {
    case 'bash':
      return bashScript(nodes)
    case 'zsh':
      // zsh runs bash's completions; its own words would say the same twice.
      return `#compdef sally\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(nodes)}`
    case 'fish':
      return fishScript(nodes)
  }
}

function describe(command: Command, path: string): Node[] {
  const inherited = path === '' ? [] : ['--json', '--help']
  const options = command.options
    .filter(({ hidden }) => !hidden)
    .map(({ long, description, required, optional }) => ({
      word: long ?? '',
      summary: description,
      takesValue: required || optional,
    }))
  const choices = new Map<string, readonly string[]>()
  for (const option of command.options) {
    if (option.argChoices !== undefined && option.long) choices.set(option.long, option.argChoices)
  }
  for (const word of inherited) {
    const summary = word === '--json' ? 'answer as JSON' : 'show help'
    if (!options.some((option) => option.word === word)) {
      options.push({ word, summary, takesValue: false })
    }
  }
  const commands = command.commands.map((child) => ({
    word: child.name(),
    summary: child.description(),
  }))
  const values = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? [])
  const node: Node = {
    path,
    commands: [...commands, ...values.map((word) => ({ word, summary: '' }))],
    options,
    choices,
  }
  const children = command.commands.flatMap((child) =>
    describe(child, path === '' ? child.name() : `${path} ${child.name()}`),
  )
  return [node, ...children]
}

function bashScript(nodes: readonly Node[]): string {
  const cases = nodes.map(({ path, commands, options }) => {
    const words = [...commands, ...options].map(({ word }) => word)
    return `    ${quote(path)}) words=${quote(words.join(' '))} ;;`
  })
  const values = nodes.flatMap(({ path, choices }) =>
    [...choices].map(
      ([option, list]) => `    ${quote(`${path}|${option}`)}) words=${quote(list.join(' '))} ;;`,
    ),
  )
  const files = ['--output', '--home', '--proxy-data']
  const paths = nodes.map(({ path }) => quote(path)).join('|')
  return `# bash completion of sally: source <(sally completion bash)
_sally() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} path='' words='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    local next=\${path:+$path }\${COMP_WORDS[i]}
    case "$next" in ${paths}) path=$next ;; esac
  done
  case "$before" in ${files.join('|')}) COMPREPLY=($(compgen -f -- "$current")); return ;; esac
  case "$path|$before" in
${values.join('\n')}
  esac
  [ -n "$words" ] || case "$path" in
${cases.join('\n')}
  esac
  case "$path" in
    apply|'flows apply'|'audit verify') COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}
complete -o filenames -F _sally sally
`
}

function fishScript(nodes: readonly Node[]): string {
  const lines = [
    '# fish completion of sally: sally completion fish | source',
    'complete -c sally -f',
  ]
  for (const { path, commands, options, choices } of nodes) {
    const condition = fishCondition(path, commands)
    for (const { word, summary } of commands) {
      lines.push(`complete -c sally -n ${quote(condition)} -a ${quote(word)} -d ${quote(summary)}`)
    }
    const seen = path === '' ? 'true' : fishSeen(path)
    for (const { word, summary, takesValue } of options) {
      const list = choices.get(word)
      const value =
        list === undefined ? (takesValue ? ' -r' : '') : ` -x -a ${quote(list.join(' '))}`
      lines.push(
        `complete -c sally -n ${quote(seen)} -l ${word.slice(2)}${value} -d ${quote(summary)}`,
      )
    }
  }
  for (const path of ['apply', 'flows apply', 'audit verify']) {
    lines.push(`complete -c sally -n ${quote(fishSeen(path))} -F`)
  }
  return `${lines.join('\n')}\n`
}

function fishSeen(path: string): string {
  return path
    .split(' ')
    .map((word) => `__fish_seen_subcommand_from ${word}`)
    .join('; and ')
}

function fishCondition(path: string, commands: readonly { word: string }[]): string {
  if (path === '') return '__fish_use_subcommand'
  const words = commands.map(({ word }) => word).join(' ')
  return `${fishSeen(path)}; and not __fish_seen_subcommand_from ${words}`
}

/** For a POSIX shell and for fish alike. */
function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", '’')}'`
}
