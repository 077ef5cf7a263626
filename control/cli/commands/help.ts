import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { catalog, groupSummaries } from '../catalog.ts'
import type { Cli } from '../cli.ts'
import { helpTopics } from '../help-topics.ts'

/** `sally help [COMMAND…|TOPIC]` */
export function declareHelp(command: Command, cli: Cli): void {
  command
    .argument('[words...]', 'a command, or exit-codes, environment or json')
    .action(async (words: string[]) => {
      const topic = words.join(' ')
      const known = helpTopics[topic]
      const text = known ?? (await commandHelp(cli, topic))
      cli.answer({ topic, text }, () => text.trimEnd())
    })
}

async function commandHelp(cli: Cli, topic: string): Promise<string> {
  const entries = catalog.filter(({ path }) => path === topic || path.startsWith(`${topic} `))
  if (topic !== '' && entries.length === 0 && groupSummaries[topic] === undefined) {
    throw new SallyportError('usage', `no help on ${topic}`, {
      clientMessage: `there is no command or topic ${JSON.stringify(topic)}`,
      hint: 'sally help lists the commands; topics are exit-codes, environment and json',
    })
  }
  const { createProgram, findChild } = await import('../program.ts')
  let text = ''
  const output = {
    write: (more: string) => {
      text += more
    },
  }
  const program = await createProgram(cli, entries, output)
  let command = program
  for (const word of topic === '' ? [] : topic.split(' ')) {
    command = findChild(command, word) ?? command
  }
  command.outputHelp()
  return text
}
