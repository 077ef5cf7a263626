import { Option, type Command } from 'commander'
import type { SignedIn } from '../../api/login.ts'
import { createApiClient } from '../../api/client.ts'
import type { Cli } from '../cli.ts'
import { homeDirectory, homeFiles, type HomeConfig, type HomeFiles } from '../home.ts'
import { findControl, type ControlChoice } from '../login/find-control.ts'
import { printable } from '../printable.ts'
import { localTime, relativeTime } from '../show-time.ts'
import { withApi } from '../with-api.ts'
import { writeHome } from '../write-home.ts'

interface LoginOptions extends ControlChoice {
  readonly device?: boolean
  readonly browser?: boolean
  readonly refresh?: boolean
}

/** `sally login [--control URL] [--ca FILE | --authority-sha256 HEX] [--device | --browser] [--refresh]` */
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
    .action(async (options: LoginOptions) => {
      const files = homeFiles(homeDirectory(cli.environment))
      const done =
        options.refresh === true ? await refresh(cli, files) : await login(cli, files, options)
      report(cli, files, done)
    })
}

async function login(cli: Cli, files: HomeFiles, options: LoginOptions): Promise<SignedIn> {
  const control = await findControl(files, options)
  const { hasBrowser, loginWithBrowser } = await import('../login/login-with-browser.ts')
  const { loginWithDevice } = await import('../login/login-with-device.ts')
  const { createKeyAndRequest } = await import('../../../certs/request.ts')
  const { privateKeyPem, requestPem } = await createKeyAndRequest()
  const atHand = cli.interactive && !cli.json && hasBrowser(cli.environment, process.platform)
  const withBrowser = options.browser === true || (options.device !== true && atHand)
  const api = createApiClient({ baseUrl: control.url, authorityPem: control.authorityPem })
  try {
    const done = await (withBrowser ? loginWithBrowser : loginWithDevice)(cli, api, requestPem)
    writeHome(
      files.directory,
      configOf(control.url, control.config, done),
      privateKeyPem,
      done.certificate,
    )
    return done
  } finally {
    api.close()
  }
}

async function refresh(cli: Cli, files: HomeFiles): Promise<SignedIn> {
  return withApi(cli, async ({ api, home, progress }) => {
    const { createKeyAndRequest } = await import('../../../certs/request.ts')
    const { privateKeyPem, requestPem } = await createKeyAndRequest()
    progress.update('control asks the identity provider')
    const done = await api.call('loginRefresh', { body: { requestPem } })
    const { controlUrl } = home.config
    writeHome(
      files.directory,
      configOf(controlUrl, home.config, done),
      privateKeyPem,
      done.certificate,
    )
    return done
  })
}

/** What control says, and of the proxy's place what the home knew already, where control does not. */
function configOf(controlUrl: string, known: HomeConfig | undefined, done: SignedIn): HomeConfig {
  const { realm, domain, proxyHost = known?.proxyHost, proxyPorts } = done.home
  return {
    controlUrl,
    realm,
    email: done.person.email,
    domain,
    ...(proxyHost === undefined ? {} : { proxyHost }),
    proxyPorts: { ...known?.proxyPorts, ...proxyPorts },
  }
}

function report(cli: Cli, files: HomeFiles, { person, login, certificate }: SignedIn): void {
  const { serial, expiresAtMs } = certificate
  const { email } = person
  cli.answer({ home: files.directory, email, login, certificate: { serial, expiresAtMs } }, () => {
    const ends = `${localTime(expiresAtMs)} (${relativeTime(expiresAtMs, cli.clock.wallMs())})`
    return `${cli.paint(printable(email), 'bold')} is signed in at ${files.directory} until ${ends}`
  })
  const groups = person.groups.length === 0 ? 'none' : person.groups.join(', ')
  cli.note(cli.paintNote(`groups: ${printable(groups)}; go on with: sally resources`, 'dim'))
}
