/** A person's signed-in home: `SALLY_HOME`, by default `~/.sallyport`. */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { SallyportError } from '../../protocols/kit/errors.ts'
import { readPrivateFile } from '../../protocols/kit/private-file.ts'
import { domain, email, protocol, realm } from '../api/names.ts'
import { refuseOpenToOthers } from './closed-to-others.ts'
import { signInHint } from './sign-in-hint.ts'

/** `config.json`. More keys than these are left alone: another version may have written them. */
export const homeConfig = z.object({
  controlUrl: z.url({ protocol: /^https$/ }),
  realm,
  email,
  /** As in `<resource>.<domain>`. */
  domain,
  /** Where the proxy listens: an address (then names need not resolve) or a name. */
  proxyHost: z.string().min(1).max(253).optional(),
  proxyPorts: z.partialRecord(protocol, z.int().min(1).max(65_535)).default({}),
})
export type HomeConfig = z.infer<typeof homeConfig>

export interface HomeFiles {
  readonly directory: string
  readonly config: string
  /** The authority that control's certificate comes from. */
  readonly controlAuthority: string
  /** Authorities of the proxies' server certificates: `sslrootcert`. */
  readonly serverAuthorities: string
  readonly certificate: string
  readonly key: string
  /** The same key as PKCS #8 in DER: pgjdbc reads no other form, and libpq since 13 reads this one too. */
  readonly keyDer: string
  /** Countersigned heads that `sally audit verify` has seen. */
  readonly auditHeads: string
  readonly ssh: HomeSshFiles
}

/** What OpenSSH reads of a home. */
export interface HomeSshFiles {
  readonly directory: string
  readonly key: string
  readonly publicKey: string
  readonly certificate: string
  /** Who certifies the proxies' host keys. */
  readonly knownHosts: string
  /** What `sally ssh-config` and `sally connect` write. */
  readonly config: string
}

export interface Home {
  readonly files: HomeFiles
  readonly config: HomeConfig
}

export function homeFiles(directory: string): HomeFiles {
  return {
    directory,
    config: join(directory, 'config.json'),
    controlAuthority: join(directory, 'control-ca.pem'),
    serverAuthorities: join(directory, 'ca.pem'),
    certificate: join(directory, 'cert.pem'),
    key: join(directory, 'key.pem'),
    keyDer: join(directory, 'key.pk8'),
    auditHeads: join(directory, 'audit-heads.json'),
    ssh: sshFiles(join(directory, 'ssh')),
  }
}

function sshFiles(directory: string): HomeSshFiles {
  const key = join(directory, 'id_ed25519')
  return {
    directory,
    key,
    publicKey: `${key}.pub`,
    certificate: `${key}-cert.pub`,
    knownHosts: join(directory, 'known_hosts'),
    config: join(directory, 'config'),
  }
}

export function homeDirectory(environment: NodeJS.ProcessEnv): string {
  return resolve(environment['SALLY_HOME'] || join(homedir(), '.sallyport'))
}

/**
 * Reads the configuration and refuses a home whose key others can read, or where others can change whom it trusts.
 * @throws SallyportError `evidence-missing` if nobody is signed in there, `config-invalid` if it is damaged or open.
 */
export function readHome(environment: NodeJS.ProcessEnv): Home {
  const files = homeFiles(homeDirectory(environment))
  if (!existsSync(files.config)) throw signedOut(files, 'has no config.json')
  if (!existsSync(files.key) || !existsSync(files.certificate)) {
    throw signedOut(files, 'has no certificate with its key')
  }
  const config = readConfig(files)
  readPrivateFile(files.key)
  if (existsSync(files.keyDer)) readPrivateFile(files.keyDer)
  return { files, config }
}

/** Throws like `readHome`, also for a home where nobody is signed in. */
export function readConfig(files: HomeFiles): HomeConfig {
  refuseOpenToOthers([
    files.directory,
    files.config,
    files.controlAuthority,
    files.serverAuthorities,
    files.certificate,
    files.ssh.directory,
    files.ssh.knownHosts,
    files.ssh.config,
  ])
  let json: unknown
  try {
    json = JSON.parse(readFileSync(files.config, 'utf8'))
  } catch (error) {
    throw damaged(files, 'is not JSON', error)
  }
  const parsed = homeConfig.safeParse(json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw damaged(files, `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is wrong'}`, undefined)
}

function signedOut(files: HomeFiles, why: string): SallyportError {
  return new SallyportError('evidence-missing', `${files.directory} ${why}`, {
    clientMessage: `nobody is signed in at ${files.directory} (it ${why})`,
    hint: `${signInHint}; or set SALLY_HOME to a signed-in home`,
  })
}

function damaged(files: HomeFiles, why: string, cause: unknown): SallyportError {
  return new SallyportError('config-invalid', `${files.config}: ${why}`, {
    clientMessage: `${files.config}: ${why}`,
    hint: 'sign in to another home: SALLY_HOME=DIR sally login --control URL --ca FILE',
    cause,
  })
}
