/**
 * Every command of `sally`, once: its words, one sentence, and the file that declares it. A file is loaded only when
 * its command runs (or its help or the completion is asked for), so that each start stays fast.
 */
import type { Command } from 'commander'
import type { Cli } from './cli.ts'

/** Adds arguments, options and the action to the command that carries its name already. */
export type Declare = (command: Command, cli: Cli) => void

export interface CatalogEntry {
  /** "grant" or "sessions cut". */
  readonly path: string
  readonly summary: string
  /** What follows its name is for another program: no word of it is ours. */
  readonly isForAnother?: true
  readonly load: () => Promise<Declare>
}

export const groupSummaries: Readonly<Record<string, string>> = {
  audit: 'Search, read, export and verify the audit',
  certificates: 'Revoke certificates',
  people: 'People and their certificates',
  proxy: 'Proxies and their join tokens',
  token: 'One-time passwords, and tokens for scripts',
  secret: 'The sealed file of a proxy’s secrets',
}

export const catalog: readonly CatalogEntry[] = [
  {
    path: 'connect',
    summary: 'Open a resource with its own client (psql, ssh, curl)',
    load: async () => (await import('./commands/connect.ts')).declareConnect,
  },
  {
    path: 'curl',
    summary: 'Ask an HTTP app with curl, as yourself',
    isForAnother: true,
    load: async () => (await import('./commands/curl.ts')).declareCurl,
  },
  {
    path: 'proxy-token',
    summary: 'Print a token by which a program reaches the HTTP apps that you may',
    load: async () => (await import('./commands/proxy-token.ts')).declareProxyToken,
  },
  {
    path: 'pg-service',
    summary: 'Write a pg_service.conf, so that psql service=NAME works',
    load: async () => (await import('./commands/write-pg-services.ts')).declarePgServices,
  },
  {
    path: 'ssh-config',
    summary: 'Have ssh, and all that runs it, know the resources by name',
    load: async () => (await import('./commands/ssh-config.ts')).declareSshConfig,
  },
  {
    path: 'ssh-key',
    summary: 'SSH keys that identify you without a certificate',
    load: async () => (await import('./commands/ssh-key-list.ts')).declareSshKeyList,
  },
  {
    path: 'ssh-key list',
    summary: 'The same',
    load: async () => (await import('./commands/ssh-key-list.ts')).declareSshKeyList,
  },
  {
    path: 'ssh-key add',
    summary: 'Register an SSH key, also one in hardware',
    load: async () => (await import('./commands/ssh-key-add.ts')).declareSshKeyAdd,
  },
  {
    path: 'ssh-key remove',
    summary: 'End a registered key now, and cut its sessions',
    load: async () => (await import('./commands/ssh-key-remove.ts')).declareSshKeyRemove,
  },
  {
    path: 'ssh-authority',
    summary: 'Print whom servers and clients have to trust: for TrustedUserCAKeys, known_hosts',
    load: async () => (await import('./commands/ssh-authority.ts')).declareSshAuthority,
  },
  {
    path: 'resources',
    summary: 'What you can reach now, and what you could ask for',
    load: async () => (await import('./commands/resources.ts')).declareResources,
  },
  {
    path: 'why',
    summary: 'What you may do at a resource, and who would have to say yes',
    load: async () => (await import('./commands/why.ts')).declareWhy,
  },
  {
    path: 'request',
    summary: 'Ask for access to a resource',
    load: async () => (await import('./commands/request.ts')).declareRequest,
  },
  {
    path: 'requests',
    summary: 'Requests that wait, yours and those you may decide',
    load: async () => (await import('./commands/requests.ts')).declareRequests,
  },
  {
    path: 'approve',
    summary: 'Say yes to a request',
    load: async () => (await import('./commands/approve.ts')).declareApprove,
  },
  {
    path: 'deny',
    summary: 'Say no to a request',
    load: async () => (await import('./commands/deny.ts')).declareDeny,
  },
  {
    path: 'withdraw',
    summary: 'Take your request back',
    load: async () => (await import('./commands/withdraw.ts')).declareWithdraw,
  },
  {
    path: 'grants',
    summary: 'Who may reach what, and until when',
    load: async () => (await import('./commands/grants.ts')).declareGrants,
  },
  {
    path: 'grant',
    summary: 'Let a person reach a resource for some time',
    load: async () => (await import('./commands/grant.ts')).declareGrant,
  },
  {
    path: 'extend',
    summary: 'Move the end of a live grant; its sessions go on',
    load: async () => (await import('./commands/extend.ts')).declareExtend,
  },
  {
    path: 'give-back',
    summary: 'End your own grant now',
    load: async () => (await import('./commands/give-back.ts')).declareGiveBack,
  },
  {
    path: 'revoke',
    summary: 'End a grant now and cut its sessions',
    load: async () => (await import('./commands/revoke.ts')).declareRevoke,
  },
  {
    path: 'sessions',
    summary: 'Connections, live and closed',
    load: async () => (await import('./commands/sessions.ts')).declareSessions,
  },
  {
    path: 'sessions cut',
    summary: 'Cut a live session',
    load: async () => (await import('./commands/sessions-cut.ts')).declareSessionsCut,
  },
  {
    path: 'sessions watch',
    summary: 'Follow a session: its terminal, or each statement as it happens',
    load: async () => (await import('./commands/sessions-watch.ts')).declareSessionsWatch,
  },
  {
    path: 'sessions show',
    summary: 'One session, and what recordings there are of it',
    load: async () => (await import('./commands/sessions-show.ts')).declareSessionsShow,
  },
  {
    path: 'sessions export',
    summary: 'Write a recording as asciicast, for asciinema',
    load: async () => (await import('./commands/sessions-export.ts')).declareSessionsExport,
  },
  {
    path: 'replay',
    summary: 'Play the recording of a session',
    load: async () => (await import('./commands/replay.ts')).declareReplay,
  },
  {
    path: 'audit search',
    summary: 'Find statements and requests',
    load: async () => (await import('./commands/audit-search.ts')).declareAuditSearch,
  },
  {
    path: 'audit actions',
    summary: 'Decisions, changes and readings of the audit',
    load: async () => (await import('./commands/audit-actions.ts')).declareAuditActions,
  },
  {
    path: 'audit verify',
    summary: 'Prove that nothing was changed, cut off or swapped',
    load: async () => (await import('./commands/audit-verify.ts')).declareAuditVerify,
  },
  {
    path: 'audit export',
    summary: 'Write the chains into a file that can be verified anywhere',
    load: async () => (await import('./commands/audit-export.ts')).declareAuditExport,
  },
  {
    path: 'audit status',
    summary: 'What arrived from each proxy, and how far the index is',
    load: async () => (await import('./commands/audit-status.ts')).declareAuditStatus,
  },
  {
    path: 'apply',
    summary: 'Make the resources what a file says',
    load: async () => (await import('./commands/apply.ts')).declareApply,
  },
  {
    path: 'flows',
    summary: 'Who may ask for what, and who must say yes',
    load: async () => (await import('./commands/flows.ts')).declareFlows,
  },
  {
    path: 'flows list',
    summary: 'The same',
    load: async () => (await import('./commands/flows.ts')).declareFlows,
  },
  {
    path: 'flows apply',
    summary: 'Make the flows what a file says',
    load: async () => (await import('./commands/flows-apply.ts')).declareFlowsApply,
  },
  {
    path: 'flows test',
    summary: 'What a person would have to do for access',
    load: async () => (await import('./commands/flows-test.ts')).declareFlowsTest,
  },
  {
    path: 'people list',
    summary: 'People, their roles and state',
    load: async () => (await import('./commands/people-list.ts')).declarePeopleList,
  },
  {
    path: 'people add',
    summary: 'Add a person',
    load: async () => (await import('./commands/people-add.ts')).declarePeopleAdd,
  },
  {
    path: 'people revoke',
    summary: 'End every session and certificate of a person',
    load: async () => (await import('./commands/people-state.ts')).declarePeopleRevoke,
  },
  {
    path: 'people restore',
    summary: 'Let a revoked person in again',
    load: async () => (await import('./commands/people-state.ts')).declarePeopleRestore,
  },
  {
    path: 'people certificate',
    summary: 'Make a signed-in home for a person',
    load: async () => (await import('./commands/people-certificate.ts')).declarePeopleCertificate,
  },
  {
    path: 'certificates revoke',
    summary: 'Revoke one certificate and cut its sessions',
    load: async () => (await import('./commands/certificates-revoke.ts')).declareCertificatesRevoke,
  },
  {
    path: 'secret set',
    summary: 'Put a secret into a proxy’s sealed file',
    load: async () => (await import('./commands/secret-set.ts')).declareSecretSet,
  },
  {
    path: 'secret list',
    summary: 'Names of the secrets in a proxy’s sealed file',
    load: async () => (await import('./commands/secret-list.ts')).declareSecretList,
  },
  {
    path: 'proxy join-token',
    summary: 'Make a token with which one proxy joins',
    load: async () => (await import('./commands/proxy-join-token.ts')).declareProxyJoinToken,
  },
  {
    path: 'proxy list',
    summary: 'Proxies by group',
    load: async () => (await import('./commands/proxy-list.ts')).declareProxyList,
  },
  {
    path: 'proxy group',
    summary: 'A group of proxies, and where servers see it come from',
    load: async () => (await import('./commands/proxy-group.ts')).declareProxyGroup,
  },
  {
    path: 'proxy revoke',
    summary: 'Shut a proxy out for good, as when its key was stolen',
    load: async () => (await import('./commands/proxy-revoke.ts')).declareProxyRevoke,
  },
  {
    path: 'token connect',
    summary: 'Make a one-time password for a client that knows only passwords',
    load: async () => (await import('./commands/token-connect.ts')).declareTokenConnect,
  },
  {
    path: 'token create',
    summary: 'Make a token of yours for scripts that call control’s API',
    load: async () => (await import('./commands/token-create.ts')).declareTokenCreate,
  },
  {
    path: 'token list',
    summary: 'Tokens, and when they were last used',
    load: async () => (await import('./commands/token-list.ts')).declareTokenList,
  },
  {
    path: 'token revoke',
    summary: 'End a token now, and cut the session that it let in',
    load: async () => (await import('./commands/token-revoke.ts')).declareTokenRevoke,
  },
  {
    path: 'login',
    summary: 'Sign in with your organisation’s identity provider',
    load: async () => (await import('./commands/login.ts')).declareLogin,
  },
  {
    path: 'logout',
    summary: 'End the login, its certificates and their sessions',
    load: async () => (await import('./commands/logout.ts')).declareLogout,
  },
  {
    path: 'logins',
    summary: 'Sign-ins, also those made at a terminal',
    load: async () => (await import('./commands/logins.ts')).declareLogins,
  },
  {
    path: 'logins end',
    summary: 'End a sign-in, its certificates and their sessions',
    load: async () => (await import('./commands/logins-end.ts')).declareLoginsEnd,
  },
  {
    path: 'whoami',
    summary: 'Who control takes you for, and until when',
    load: async () => (await import('./commands/whoami.ts')).declareWhoami,
  },
  {
    path: 'doctor',
    summary: 'Check everything on the way, and say what mends it',
    load: async () => (await import('./commands/doctor.ts')).declareDoctor,
  },
  {
    path: 'completion',
    summary: 'Print the completion script of a shell',
    load: async () => (await import('./commands/completion.ts')).declareCompletion,
  },
  {
    path: 'help',
    summary: 'Help on a command, or on: exit-codes, environment, json',
    load: async () => (await import('./commands/help.ts')).declareHelp,
  },
]

/** The entry whose words begin these arguments (options are passed over), longest first. */
export function findEntry(argv: readonly string[]): CatalogEntry | undefined {
  const end = argv.indexOf('--')
  const words = argv.slice(0, end < 0 ? argv.length : end).filter((word) => !word.startsWith('-'))
  return (
    catalog.find(({ path }) => path === words.slice(0, 2).join(' ')) ??
    catalog.find(({ path }) => path === words[0])
  )
}
