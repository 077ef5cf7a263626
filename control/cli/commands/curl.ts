import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { refuseExpiredCertificate } from '../certificate-end.ts'
import type { Cli } from '../cli.ts'
import { appUrl, curlOptions, quietOptions, takesText } from '../curl-invocation.ts'
import { findProgram } from '../find-program.ts'
import { readHome, type Home } from '../home.ts'
import { runClient } from '../run-client.ts'

/** `sally curl URL [curl's arguments…]` */
export function declareCurl(command: Command, cli: Cli): void {
  command
    .usage('URL [curl’s arguments…]')
    .argument('[arguments...]', 'the URL of an app, and whatever else curl takes, in any order')
    .addHelpText(
      'after',
      '\ncurl runs with your certificate and the proxy’s authority; https:// and the port may be left out.' +
        '\nIt shows no progress meter unless you ask for one (-#) or write to a file (-o).' +
        '\nIts exit code is ours. With --json in front (sally --json curl …) the command is printed instead of run.' +
        '\n\nExamples:\n  sally curl wiki.access.example.com/api/echo' +
        '\n  sally curl https://wiki.access.example.com/pages -d title=News',
    )
    .action(async (passedOn: string[]): Promise<void> => {
      const home = readHome(cli.environment)
      refuseExpiredCertificate(home, cli.clock)
      const { words, urls } = readUrls(home, passedOn)
      if (urls.length === 0) throw noUrl(home, passedOn)
      const commandLine = [...curlOptions(home, urls), ...quietOptions(passedOn), ...words]
      if (cli.json) {
        cli.answer({ command: ['curl', ...commandLine], env: {} }, () => '')
        return
      }
      const path = findProgram('curl', cli.environment)
      if (path === undefined) throw curlMissing()
      cli.exitWith(await runClient(path, commandLine, cli.environment))
    })
}

/** The caller's words with the URLs of apps completed. Throws for a URL of anything else: it would be shown who asks. */
function readUrls(home: Home, passedOn: readonly string[]): { words: string[]; urls: URL[] } {
  const urls: URL[] = []
  const words = passedOn.map((word, index) => {
    const before = passedOn[index - 1]
    if (takesText(before)) return word
    const url = word.startsWith('-') ? undefined : appUrl(home, word)
    if (url !== undefined) {
      urls.push(url)
      return url.href
    }
    const isValue = before?.startsWith('--') === true && before !== '--url'
    if (isValue || !/^https?:\/\//i.test(word)) return word
    const secure = word.replace(/^http:/i, 'https:')
    if (secure !== word && appUrl(home, secure) !== undefined) throw notSecure(word, secure)
    throw new SallyportError('usage', `${word} is not an app of ${home.config.domain}`, {
      clientMessage: `${word} is not an app of ${home.config.domain}, and would be shown your certificate`,
      hint: 'use plain curl for it',
    })
  })
  return { words, urls }
}

function notSecure(word: string, secure: string): SallyportError {
  return new SallyportError('usage', `${word} is not https`, {
    clientMessage: `apps are reached by https, and ${word} is not`,
    hint: `sally curl ${secure}`,
  })
}

function noUrl(home: Home, passedOn: readonly string[]): SallyportError {
  // The name of a resource alone, as every other command takes it.
  const bare = passedOn.find(
    (word, index) =>
      !takesText(passedOn[index - 1]) && /^[a-z0-9][a-z0-9-]{0,62}(?:\/\S*)?$/.test(word),
  )
  const [name, ...path] = bare?.split('/') ?? []
  const example = [`${name ?? '<app>'}.${home.config.domain}`, ...path].join('/')
  return new SallyportError('usage', 'no URL', {
    clientMessage: 'no URL of an app was given',
    hint: `write its whole name: sally curl ${example}; sally resources shows the apps`,
  })
}

function curlMissing(): SallyportError {
  return new SallyportError('client-missing', 'curl is not on PATH', {
    clientMessage: 'curl is not installed (it is not on PATH)',
    hint: 'install it: sudo apt-get install curl (macOS has it)',
  })
}
