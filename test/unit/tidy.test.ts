/** Style is a test: each rule is first shown to find what it is there for, then held against the whole tree. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorCodes } from '../../protocols/kit/errors.ts'
import { complaintsAboutDebris, complaintsAboutFiles } from '../tidy/debris-rules.ts'
import { complaintsAboutImports, complaintsAboutProtocolPowers } from '../tidy/import-rules.ts'
import {
  complaintsAboutLibraries,
  complaintsAboutLock,
  type PackageFile,
} from '../tidy/library-rules.ts'
import { codeOf, importsOf, readSourceTree } from '../tidy/source-tree.ts'
import {
  complaintsAboutDocuments,
  complaintsAboutErrorCodes,
  complaintsAboutProtocols,
  complaintsAboutReachability,
  complaintsAboutTopLevel,
} from '../tidy/tree-rules.ts'

const tree = readSourceTree(join(import.meta.dirname, '../..'))
const textOf = (path: string): string => tree.find((file) => file.path === path)?.text ?? ''
const packageFile = JSON.parse(textOf('package.json')) as PackageFile & {
  scripts: Record<string, string>
}

/** What starts something: scripts of package.json, the CLI, and what those start as processes. */
const entries = {
  product: ['proxy/main.ts', 'control/main.ts', 'control/cli/main.ts', ...scripts('deploy/')],
  work: ['vitest.config.ts', ...scripts('test/'), ...scripts('bench/'), ...benches()],
}

function scripts(folder: string): string[] {
  return Object.values(packageFile.scripts).flatMap((script) =>
    script.split(' ').filter((word) => word.startsWith(folder) && word.endsWith('.ts')),
  )
}

function benches(): string[] {
  return tree.map(({ path }) => path).filter((path) => /^bench\/.*\/main\.ts$/.test(path))
}

const file = (path: string, text = '') => ({ path, text })

test('the tree was read', () => {
  expect(tree.length).toBeGreaterThan(100)
  expect(textOf('protocols/kit/clock.ts')).toContain('systemClock')
  expect(tree.some(({ path }) => path.startsWith('node_modules/'))).toBe(false)
})

describe('reading source', () => {
  test('comments and the content of strings are not code', () => {
    expect(codeOf("a // Date.now\nb /* c\nd */ e('f')")).toBe("a \nb \n e('')")
    expect(codeOf('`x ${Date.now()} y`')).toContain('Date.now()')
    expect(codeOf("const quote = /'/\nDate.now() // it's")).toContain('Date.now()')
    expect(codeOf("'http://a.test'; b", 'strings')).toBe("'http://a.test'; b")
  })

  test('imports of every form are seen', () => {
    const source = file(
      'a/b.ts',
      [
        "import 'one'",
        'import { x,',
        "  y } from './two.ts'",
        'import type { Z } from "three"',
        "export * from './four.ts'",
        "const five = await import('./five.ts')",
        "// import 'six'",
        '',
      ].join('\n'),
    )
    expect(importsOf(source).map((found) => found.specifier)).toEqual([
      ...['one', './two.ts', 'three', './four.ts', './five.ts'],
    ])
    expect(importsOf(source)[2]!.typeOnly).toBe(true)
  })
})

describe('the direction of imports', () => {
  test.each([
    ['protocols/kit/a.ts', '../activity.ts'],
    ['protocols/kit/a.ts', '../../certs/signer.ts'],
    ['protocols/engine.ts', './postgres/index.ts'],
    ['protocols/index.ts', './postgres/wire.ts'],
    ['protocols/postgres/a.ts', '../mysql/wire.ts'],
    ['protocols/postgres/a.ts', '../../proxy/gate.ts'],
    ['protocols/postgres/a.ts', '../../control/api/names.ts'],
    ['protocols/postgres/a.ts', '../../certs/signer.ts'],
    ['certs/a.ts', '../protocols/activity.ts'],
    ['certs/a.ts', '../control/api/names.ts'],
    ['control/api/a.ts', '../../protocols/session.ts'],
    ['control/api/a.ts', '../store/store.ts'],
    ['control/api/a.ts', '../../certs/signer.ts'],
    ['control/cli/a.ts', '../../proxy/gate.ts'],
    ['control/audit/a.ts', '../../protocols/activity.ts'],
    ['proxy/a.ts', '../control/store/store.ts'],
    ['proxy/sessions/a.ts', '../../control/main.ts'],
    ['proxy/a.ts', '../test/test-clock.ts'],
    ['deploy/a.ts', '../test/test-clock.ts'],
    ['elsewhere/a.ts', '../proxy/gate.ts'],
  ])('%s may not import %s', (path, specifier) => {
    const source = file(path, `import { x } from '${specifier}'\n`)
    expect(complaintsAboutImports([source])).toHaveLength(1)
    const types = file(path, `import type { X } from '${specifier}'\n`)
    expect(complaintsAboutImports([types])).toHaveLength(1)
  })

  test.each([
    ['protocols/index.ts', './postgres/index.ts'],
    ['protocols/postgres/wire/a.ts', '../../kit/clock.ts'],
    ['protocols/postgres/wire/a.ts', '../observe.ts'],
    ['protocols/postgres/a.ts', '../session.ts'],
    ['certs/a.ts', '../protocols/kit/clock.ts'],
    ['control/api/a.ts', '../../protocols/activity.ts'],
    ['control/cli/a.ts', '../api/client.ts'],
    ['proxy/a.ts', '../control/api/audit/format.ts'],
    ['proxy/a.ts', '../protocols/postgres/index.ts'],
    ['deploy/a.ts', '../proxy/main.ts'],
  ])('%s may import %s', (path, specifier) => {
    expect(complaintsAboutImports([file(path, `import { x } from '${specifier}'\n`)])).toEqual([])
  })

  test('holds', () => expect(complaintsAboutImports(tree)).toEqual([]))

  test('a protocol cannot dial, read files or start programs', () => {
    const path = 'protocols/postgres/upstream.ts'
    for (const line of [
      "import { connect } from 'node:net'",
      "import { writeFileSync } from 'node:fs'",
      "import { spawn } from 'node:child_process'",
      "const dns = await import('node:dns/promises')",
    ]) {
      expect(complaintsAboutProtocolPowers([file(path, line)]), line).toHaveLength(1)
    }
    expect(
      complaintsAboutProtocolPowers([file(path, "import type { Socket } from 'node:net'")]),
    ).toEqual([])
    expect(complaintsAboutProtocolPowers(tree)).toEqual([])
  })
})

describe('libraries', () => {
  const declared = { dependencies: { pg: '1.0.0', 'made-up': '1.0.0' }, devDependencies: {} }

  test.each([
    ['proxy/a.ts', 'pg', 'belongs to'],
    ['control/store/a.ts', 'made-up', 'belongs to nobody'],
    ['control/store/a.ts', '@not/declared/at-all', '@not/declared is not a dependency'],
    ['test/a.ts', 'undeclared', 'is not a dependency'],
  ])('%s may not import %s', (path, name, complaint) => {
    const found = complaintsAboutLibraries([file(path, `import '${name}'\n`)], declared)
    expect(found.join()).toContain(complaint)
  })

  test('none is declared for nobody, or loosely', () => {
    const loose = { dependencies: { zod: '^4.0.0' } }
    expect(complaintsAboutLibraries([], loose)).toEqual([
      'package.json: nobody imports zod',
      'package.json: zod has no exact version: ^4.0.0',
    ])
  })

  test('are locked with all their packages, those of other platforms too', () => {
    const wants = { optionalDependencies: { x: '1' } }
    const lock = (...paths: string[]) => ({
      packages: {
        'node_modules/a/node_modules/b': wants,
        ...Object.fromEntries(paths.map((path) => [path, {}])),
      },
    })
    for (const path of [
      'node_modules/a/node_modules/b/node_modules/x',
      'node_modules/a/node_modules/x',
      'node_modules/x',
    ]) {
      expect(complaintsAboutLock(lock(path)), path).toEqual([])
    }
    expect(complaintsAboutLock(lock('node_modules/b/node_modules/x'))).toHaveLength(1)
    expect(complaintsAboutLock({ packages: { '': wants } })).toHaveLength(1)
    const ours = JSON.parse(textOf('package-lock.json')) as Parameters<
      typeof complaintsAboutLock
    >[0]
    expect(Object.keys(ours.packages).length).toBeGreaterThan(100)
    expect(complaintsAboutLock(ours)).toEqual([])
  })

  test('have one owner each', () => {
    expect(complaintsAboutLibraries(tree, packageFile)).toEqual([])
  })
})

describe('debris', () => {
  const at = (path: string, text: string) => complaintsAboutDebris([file(path, `${text}\n`)])
  /** The bar keeps the samples from being debris themselves. */
  const joined = (text: string): string => text.replace('|', '')

  test.each([
    ['README.md', 'TO|DO: later'],
    ['proxy/a.ts', '// FIX|ME'],
    ['proxy/a.ts', '<<<|<<<< HEAD'],
    ['proxy/a.ts', 'const a = 1 '],
    ['proxy/a.ts', 'const a = 1\r'],
    ['README.md', 'see /wo|rk/main'],
    ['README.md', 'cd /ro|ot/x'],
    ['README.md', '`/ho|me/me/x`'],
    ['README.md', 'https://regis|try.example.test/x'],
    ['package-lock.json', '"resolved": "http://localhost:4873/zod.tgz"'],
    ['proxy/a.ts', "console.log('x')"],
    ['control/server/a.ts', 'console . error(1)'],
    ['proxy/a.ts', 'const now = Date.now()'],
    ['proxy/a.ts', 'const now = new Date()'],
    ['control/a.ts', 'performance.now()'],
    ['certs/a.ts', 'setTimeout(run, 10)'],
    ['protocols/kit/b.ts', 'globalThis.setInterval(run, 10)'],
    ['protocols/kit/b.ts', "import { setTimeout } from 'node:timers/promises'"],
    ['proxy/a.ts', 'AbortSignal.timeout(1000)'],
    ['proxy/a.ts', 'const x: any = 1'],
    ['proxy/a.ts', 'const x = y as any'],
    ['proxy/a.ts', 'const x = new Map<string, any>()'],
    ['test/a.ts', 'export default {}'],
    ['proxy/a.ts', 'debugger'],
    ['test/unit/a.test.ts', "test.only('x', run)"],
    ['test/unit/a.test.ts', "describe.concurrent.skip('x', run)"],
    ['proxy/a.ts', 'export class SessionManager {}'],
    ['proxy/a.ts', 'const stringUtils = 1'],
    ['proxy/a.ts', 'export enum Level {}'],
    ['proxy/a.ts', '// @ts-|ignore'],
  ])('in %s: %s', (path, text) => expect(at(path, joined(text))).toHaveLength(1))

  test.each([
    ['proxy/a.ts', '// Date.now is not for us'],
    ['proxy/a.ts', "log.info('call setTimeout(x)')"],
    ['proxy/a.ts', 'const day = new Date(atMs)'],
    ['proxy/a.ts', 'socket.setTimeout(0)'],
    ['proxy/a.ts', 'const anyone: Anyone = { any: 1 }'],
    ['control/cli/a.ts', "console.log('x')"],
    ['bench/a.ts', 'Date.now()'],
    ['protocols/kit/clock.ts', 'Date.now()'],
    ['proxy/a.ts', "new URL('https://a.test/work/x')"],
    ['proxy/a.ts', 'const serviceName = 1'],
    ['package-lock.json', '"resolved": "https://registry.npmjs.org/zod/-/zod.tgz"'],
  ])('not in %s: %s', (path, text) => expect(at(path, text)).toEqual([]))

  test('says where', () => {
    expect(at('proxy/a.ts', 'const a = 1\n\nconst b = Date.now()')).toEqual([
      'proxy/a.ts:3: time that is not from a Clock',
    ])
  })

  test('there is none', () => expect(complaintsAboutDebris(tree)).toEqual([]))

  test.each([
    ['proxy/long.ts', 'x\n'.repeat(401)],
    ['proxy/camelCase.ts', ''],
    ['proxy/session-manager.ts', ''],
    ['proxy/utils.ts', ''],
    ['test/unit/string-helpers.test.ts', ''],
    ['proxy/a.ts.orig', ''],
  ])('%s is no good file', (path, text) => {
    expect(complaintsAboutFiles([file(path, text)])).toHaveLength(1)
  })

  test('files are small and well named', () => expect(complaintsAboutFiles(tree)).toEqual([]))
})

describe('the shape of the tree', () => {
  test('the top level is fixed', () => {
    const complaints = complaintsAboutTopLevel([...tree, file('notes.md'), file('lib/a.ts')])
    expect(complaints).toEqual(['notes.md: not of the top level', 'lib: not of the top level'])
    expect(complaintsAboutTopLevel([]).join()).toContain('LICENSE: missing')
  })

  test('every protocol has the same files', () => {
    const names = ['index', 'wire', 'downstream', 'upstream', 'observe']
    const whole = names.map((name) => file(`protocols/made-up/${name}.ts`))
    expect(complaintsAboutProtocols([...whole, file('protocols/made-up/wire/a.ts')])).toEqual([])
    expect(complaintsAboutProtocols(whole.slice(1))).toHaveLength(1)
    expect(complaintsAboutProtocols([...whole, file('protocols/made-up/a.ts')])).toHaveLength(1)
    expect(complaintsAboutProtocols(tree)).toEqual([])
  })

  test('every file is imported', () => {
    const sample = [
      file('proxy/main.ts', "import { a } from './a.ts'\nspawn('proxy/worker.ts')"),
      file('proxy/a.ts', "new Worker(new URL('./thread.ts', import.meta.url))"),
      ...['proxy/worker.ts', 'proxy/thread.ts', 'proxy/forgotten.ts'].map((path) => file(path)),
      file('proxy/tested.ts'),
      file('test/unit/a.test.ts', "import '../../proxy/tested.ts'"),
    ]
    expect(
      complaintsAboutReachability(sample, { product: ['proxy/main.ts', 'no.ts'], work: [] }),
    ).toEqual([
      'no.ts: an entry that is not there',
      'proxy/forgotten.ts: nobody imports it',
      'proxy/tested.ts: only tests or benches import it',
    ])
    expect(complaintsAboutReachability(tree, entries)).toEqual([])
  })

  test('documents name what is there', () => {
    const documents = [
      file(
        'README.md',
        'see `proxy/gate.ts`, `proxy/`, `proxy`, [this](proxy/gate.ts#a), `certs/x`',
      ),
      file('docs/more.md', '[up](../README.md) [out](https://a.test/b) [gone](../gone.md)'),
      file('proxy/gate.ts'),
    ]
    expect(complaintsAboutDocuments(documents)).toEqual([
      'README.md: names certs/x, which is not there',
      'docs/more.md: names gone.md, which is not there',
    ])
    expect(complaintsAboutDocuments(tree)).toEqual([])
  })

  test('every error code is explained', () => {
    const good = '### `a`\n\n**What happened.** x\n**Why.** y\n**What to do.** z\n'
    expect(complaintsAboutErrorCodes(good, ['a'])).toEqual([])
    expect(complaintsAboutErrorCodes(good, ['a', 'b'])).toEqual(['b: not in ERRORS.md'])
    expect(complaintsAboutErrorCodes(good, [])).toEqual(['a: no error code'])
    expect(complaintsAboutErrorCodes(good + good, ['a'])).toContain('a: twice in ERRORS.md')
    expect(complaintsAboutErrorCodes('### `a`\n**Why.** x', ['a'])).toHaveLength(2)
    expect(complaintsAboutErrorCodes(textOf('ERRORS.md'), errorCodes)).toEqual([])
  })
})
