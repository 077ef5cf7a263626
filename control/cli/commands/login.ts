import { Option, type Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { SignedIn } from '../../api/login.ts'
import { createApiClient } from '../../api/client.ts'
import type { Cli } from '../cli.ts'
import { homeDirectory, homeFiles, type HomeConfig, type HomeFiles } from '../home.ts'
import { findControl, type ControlChoice } from '../login/find-control.ts'
import { printable } from '../printable.ts'
import { renewHome } from '../renew-home.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { requireAgent } from '../ssh/agent.ts'
import { withApi } from '../with-api.ts'

interface LoginOptions extends ControlChoice {
  readonly device?: boolean
  readonly browser?: boolean
  readonly refresh?: boolean
  readonly agent?: boolean
}

interface Done extends SignedIn {
  readonly inAgent: boolean
}

/** `sally login [--control URL] [--ca FILE | --authority-sha256 HEX] [--device | --browser] [--refresh] [--agent]` */
export function declareLogin(command: Command, cli: Cli): void {
  command
    .option('--control <url>', 'where control is (default: what the home says)')
    .option('--ca <file>', 'the authority that control’s certificate comes from')
    .option('--authority-sha256 <hex>', 'its fingerprint instead; control shows it in its log')
    .option('--device', 'show a link and a code for a browser anywhere, and open nothing')
    .addOption(
      new Option('--browser', 'open a browser on this machine').conflicts(['device', 'refresh']),
    )
    .option('--refresh', 'renew the certificate of a login that goes on, without signing in')
    .option('--agent', 'put the SSH key and its certificate into the agent too, until they end')
    .action(async (options: LoginOptions) => {
      const files = homeFiles(homeDirectory(cli.environment))
      const intoAgent = options.agent === true
      // Before somebody signs in for nothing.
      if (intoAgent) requireAgent(cli.environment)
      const done =
        options.refresh === true
          ? await refresh(cli, files, intoAgent)
          : await login(cli, files, options)
      report(cli, files, done)
    })
}

async function login(cli: Cli, files: HomeFiles, options: LoginOptions): Promise<Done> {
  const control = await findControl(files, options)
  const { hasBrowser, loginWithBrowser } = await import('../login/login-with-browser.ts')
  const { loginWithDevice } = await import('../login/login-with-device.ts')
  const { createHomeKeys } = await import('../home-keys.ts')
  const keys = await createHomeKeys()
  const atHand = cli.interactive && !cli.json && hasBrowser(cli.environment, process.platform)
  const withBrowser = options.browser === true || (options.device !== true && atHand)
  const api = createApiClient({ baseUrl: control.url, authorityPem: control.authorityPem })
  try {
    const done = await (withBrowser ? loginWithBrowser : loginWithDevice)(cli, api, keys.ask)
    const config = configOf(control.url, control.config, done)
    const written = { config, keys, issued: done.certificate }
    return { ...done, ...(await renewHome(cli, files.directory, written, options.agent === true)) }
  } finally {
    api.close()
  }
}

async function refresh(cli: Cli, files: HomeFiles, intoAgent: boolean): Promise<Done> {
  return withApi(cli, async ({ api, home, progress }) => {
    const { createHomeKeys } = await import('../home-keys.ts')
    const keys = await createHomeKeys()
    progress.update('control asks the identity provider')
    const done = await api.call('loginRefresh', { body: keys.ask })
    const config = configOf(home.config.controlUrl, home.config, done)
    const written = { config, keys, issued: done.certificate }
    return { ...done, ...(await renewHome(cli, files.directory, written, intoAgent)) }
  })
}

/**
 * What control says, and of the proxy's place what the home knew already, where control does not. The domain stays: ssh is configured for
 * it, and a control that was taken over could have the connections to any other sent to itself. Throws `config-invalid`.
 */
function configOf(controlUrl: string, known: HomeConfig | undefined, done: SignedIn): HomeConfig {
  const { realm, domain, proxyHost = known?.proxyHost, proxyPorts } = done.home
  if (known?.controlUrl === controlUrl && known.domain !== domain) {
    throw new SallyportError('config-invalid', `the domain was ${known.domain}, now ${domain}`, {
      clientMessage: `control says that resources are under ${domain} now; this home knows them under ${known.domain}`,
      hint: 'ask its operator; if that is so, sign in to another home: SALLY_HOME=DIR sally login --control URL --ca FILE',
    })
  }
  return {
    controlUrl,
    realm,
    email: done.person.email,
    domain,
    ...(proxyHost === undefined ? {} : { proxyHost }),
    proxyPorts: { ...known?.proxyPorts, ...proxyPorts },
  }
}

function report(cli: Cli, files: HomeFiles, done: Done): void {
  const { person, login, certificate, inAgent } = done
  const { serial, expiresAtMs } = certificate
  const { email } = person
  const ssh =
    certificate.ssh === undefined
      ? null
      : {
          ...{ serial: certificate.ssh.serial, expiresAtMs: certificate.ssh.expiresAtMs },
          ...{ certificate: files.ssh.certificate, inAgent },
        }
  const answer = { home: files.directory, email, login, certificate: { serial, expiresAtMs }, ssh }
  cli.answer(answer, () => {
    const ends = `${localTime(expiresAtMs)} (${relativeTime(expiresAtMs, cli.clock.wallMs())})`
    return `${cli.paint(printable(email), 'bold')} is signed in at ${files.directory} until ${ends}`
  })
  const groups = person.groups.length === 0 ? 'none' : person.groups.join(', ')
  if (inAgent) cli.note(cli.paintNote('the SSH agent has your key until then', 'dim'))
  cli.note(cli.paintNote(`groups: ${printable(groups)}; go on with: sally resources`, 'dim'))
}
