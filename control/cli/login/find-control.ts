import { existsSync, readFileSync } from 'node:fs'
import { X509Certificate } from 'node:crypto'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import { fetchPinnedAuthority } from '../../api/fetch-authority.ts'
import { refuseOpenToOthers } from '../closed-to-others.ts'
import { readConfig, type HomeConfig, type HomeFiles } from '../home.ts'

export interface FoundControl {
  readonly url: string
  /** Nothing else is believed to be control. */
  readonly authorityPem: string
  /** Of a home that belongs to this control already. */
  readonly config: HomeConfig | undefined
}

export interface ControlChoice {
  readonly control?: string
  readonly ca?: string
  readonly authoritySha256?: string
}

/**
 * Which control to sign in at, and how to know it: from the home, from a file, or by a pinned fingerprint. Never by trusting who
 * answers first. Rejects with `usage`, `config-invalid` or `control-unreachable`.
 */
export async function findControl(files: HomeFiles, choice: ControlChoice): Promise<FoundControl> {
  // They say where control is, and whom to take for it.
  refuseOpenToOthers([files.directory, files.config, files.controlAuthority])
  const known = existsSync(files.config) ? readConfig(files) : undefined
  const url = choice.control === undefined ? known?.controlUrl : originOf(choice.control)
  if (url === undefined) {
    throw usage(
      `no home at ${files.directory} says where control is`,
      'name it: sally login --control https://HOST:PORT --ca FILE (or --authority-sha256 HEX)',
    )
  }
  const config =
    known !== undefined && originOf(known.controlUrl) === originOf(url) ? known : undefined
  if (choice.ca !== undefined && choice.authoritySha256 !== undefined) {
    throw usage('--ca and --authority-sha256 say the same thing twice', 'leave one of them out')
  }
  if (choice.ca !== undefined) return { url, config, authorityPem: readAuthority(choice.ca) }
  if (choice.authoritySha256 !== undefined) {
    return { url, config, authorityPem: await fetchAuthority(url, choice.authoritySha256) }
  }
  if (config !== undefined && existsSync(files.controlAuthority)) {
    return { url, config, authorityPem: readAuthority(files.controlAuthority) }
  }
  throw usage(
    `nothing here says how to know control at ${url}`,
    'ask its operator for its authority: --ca FILE, or its fingerprint: --authority-sha256 HEX',
  )
}

function originOf(address: string): string {
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (url?.protocol !== 'https:') {
    throw usage(
      `${JSON.stringify(address)} is no https address`,
      'for example https://control.example.com:8443',
    )
  }
  return url.origin
}

function readAuthority(file: string): string {
  const pem = readFileSync(file, 'utf8')
  try {
    if (new X509Certificate(pem).ca) return pem
  } catch {
    // Said below.
  }
  throw new SallyportError('config-invalid', `${file} holds no authority`, {
    clientMessage: `${file} holds no certificate of an authority (PEM)`,
    hint: 'ask the operator of control for the file control-ca.pem',
  })
}

async function fetchAuthority(url: string, fingerprint: string): Promise<string> {
  const hex = fingerprint.replaceAll(':', '').toLowerCase()
  if (!/^[0-9a-f]{64}$/.test(hex)) {
    throw usage('--authority-sha256 takes 64 hexadecimal digits', 'copy it as the operator gave it')
  }
  const pem = await fetchPinnedAuthority(url, Buffer.from(hex, 'hex'))
  if (pem !== undefined) return pem
  throw new SallyportError('control-unreachable', `${url} does not present the pinned authority`, {
    clientMessage: `${url} is not the control with this fingerprint`,
    hint: 'check both; if they are right, somebody stands between this machine and control',
  })
}

function usage(message: string, hint: string): SallyportError {
  return new SallyportError('usage', message, { clientMessage: message, hint })
}
