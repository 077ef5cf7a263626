import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { defaultLimits } from '../../../protocols/kit/limits.ts'
import { readConfig } from '../../../proxy/config.ts'

const directory = mkdtempSync(join(tmpdir(), 'config-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const url = 'https://control.test:8443'
const read = (args: string[], environment = {}) =>
  readConfig(['--data-dir', directory, ...args], environment)

function withFile(yaml: string): string[] {
  const path = join(directory, 'some.yaml')
  writeFileSync(path, yaml)
  return ['--config', path]
}

describe('the configuration', () => {
  it('has safe defaults', () => {
    const { config, readyFile } = read(['--control-url', url])
    expect(config).toMatchObject({
      dataDir: directory,
      controlUrl: url,
      listen: { postgres: { host: '127.0.0.1', port: 5432 } },
      metrics: { host: '127.0.0.1' },
      policyFile: join(directory, 'policy.yaml'),
      limits: defaultLimits,
      logLevel: 'info',
      demo: false,
    })
    expect(readyFile).toBeUndefined()
  })

  it('takes flags before the environment before the file', () => {
    const file = withFile(
      'controlUrl: https://file.test\nlisten: { postgres: "[::1]:7" }\nlimits: { idleMs: 5 }\nname: one\n',
    )
    expect(read(file).config).toMatchObject({
      controlUrl: 'https://file.test',
      listen: { postgres: { host: '::1', port: 7 } },
      limits: { idleMs: 5, sessionsMax: defaultLimits.sessionsMax },
    })
    const environment = { SALLYPORT_CONTROL_URL: 'https://env.test' }
    expect(read(file, environment).config.controlUrl).toBe('https://env.test')
    const flags = ['--control-url', url, '--listen', 'postgres=0.0.0.0:0', '--demo']
    const { config, readyFile } = read([...file, ...flags, '--ready', 'r.json'], environment)
    expect(config).toMatchObject({
      controlUrl: url,
      listen: { postgres: { host: '0.0.0.0', port: 0 } },
      demo: true,
      name: 'one',
    })
    expect(readyFile).toBe('r.json')
  })

  it.each([
    [['--control-url', 'http://control.test'], 'https'],
    [[], 'controlUrl'],
    [['--control-url', url, '--listen', 'postgres=nowhere'], 'must look like'],
    [['--control-url', url, '--listen', 'gopher=:70'], 'listen'],
    [['--control-url', url, '--log-level', 'loud'], 'logLevel'],
    [['--control-url', url, '--metrics', 'x:y'], 'metrics'],
  ])('refuses %j', (args, text) => {
    expect(() => read(args)).toThrow(
      expect.objectContaining({
        code: 'config-invalid',
        message: expect.stringContaining(text) as string,
      }),
    )
  })

  it.each([
    ['controlUrl: https://a.test\nlimit: {}\n', '1:1'],
    ['controlUrl: https://a.test\nlimits: { idle: 1 }\n', '2:9'],
    ['controlUrl: https://a.test\nlimits: { idleMs: -1 }\n', '2:19'],
  ])('names the place of a mistake in the file: %j', (yaml, place) => {
    expect(() => read(withFile(yaml))).toThrow(
      expect.objectContaining({ message: expect.stringContaining(`some.yaml:${place}`) as string }),
    )
  })

  it('refuses flags that are none', () => {
    expect(() => read(['--unheard-of'])).toThrow(expect.objectContaining({ code: 'usage' }))
  })
})
