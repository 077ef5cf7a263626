/** The routes of SSH: people's registered keys, and what proxies ask for. Part of the table in routes.ts. */
import { z } from 'zod'
import type { Route } from './route.ts'
import * as shapes from './shapes.ts'
import * as ssh from './ssh.ts'

const everyone = ['engineer', 'admin', 'auditor'] as const
/** An auditor reaches no resource, so a key would be of no use to them. */
const keyHolders = ['engineer', 'admin'] as const

export const sshRoutes = {
  sshAuthorities: {
    method: 'GET',
    path: '/v1/ssh-authorities',
    summary:
      'Public keys of the SSH authorities: what servers and clients put in their configuration',
    access: everyone,
    response: ssh.sshAuthorities,
  },
  sshKeys: {
    method: 'GET',
    path: '/v1/ssh-keys',
    summary: 'Registered SSH keys: all for admins and auditors, their own for engineers',
    access: everyone,
    query: ssh.sshKeysQuery,
    response: shapes.page(ssh.sshKeyView),
  },
  sshKeyAdd: {
    method: 'POST',
    path: '/v1/ssh-keys',
    summary: 'Registers an SSH key of the caller, who proves to hold it',
    access: keyHolders,
    body: ssh.sshKeyAdd,
    response: ssh.sshKeyView,
  },
  sshKeyRemove: {
    method: 'DELETE',
    path: '/v1/ssh-keys/{id}',
    summary: 'Removes a key of one’s own, or as admin anybody’s, and cuts its sessions',
    access: keyHolders,
    params: z.strictObject({ id: z.uuid() }),
    response: shapes.done,
  },
  proxySshSession: {
    method: 'POST',
    path: '/v1/proxy/ssh/session-certificate',
    summary:
      'Certifies a key for one session under one grant: one account, five minutes, from the proxy’s address',
    access: 'proxy',
    body: ssh.sshSessionCertify,
    response: ssh.sshSessionCertified,
  },
  proxySshHost: {
    method: 'POST',
    path: '/v1/proxy/ssh/host-certificate',
    summary: 'Certifies a proxy’s host key for one name of its group’s domain',
    access: 'proxy',
    body: ssh.sshHostCertify,
    response: ssh.sshSessionCertified,
  },
  proxySshSignIn: {
    method: 'POST',
    path: '/v1/proxy/ssh/sign-in',
    summary: 'Begins the sign-in of somebody who waits at a terminal: a link and a code',
    access: 'proxy',
    body: ssh.sshSignIn,
    response: ssh.sshSignInBegun,
  },
  proxySshSignInWait: {
    method: 'POST',
    path: '/v1/proxy/ssh/sign-in/wait',
    summary: 'Waits for a sign-in that this proxy began',
    access: 'proxy',
    body: ssh.sshSignInWait,
    response: ssh.sshSignInState,
  },
} as const satisfies Record<string, Route>
