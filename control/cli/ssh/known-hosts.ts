/** Who certifies a domain's hosts, as in known_hosts (sshd(8)): of the domain itself and of all its names, at any port. */
export function formatKnownHosts(domain: string, authorities: readonly string[]): string {
  const hosts = [domain, `*.${domain}`, `[${domain}]:*`, `[*.${domain}]:*`].join(',')
  return authorities
    .map((line) => line.trim().split(/\s+/).slice(0, 2).join(' '))
    .map((key) => `@cert-authority ${hosts} ${key}\n`)
    .join('')
}
