import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readDemoOptions } from '../../../deploy/demo/options.ts'
import { awaitLeftovers, writePids } from '../../../deploy/leftovers.ts'
import { lockDirectory } from '../../../deploy/lock.ts'
import { freePort } from '../../../deploy/ports.ts'
import { mayReach } from '../../../deploy/account.ts'
import { readStartOptions } from '../../../deploy/start-options.ts'
import { systemClock as clock } from '../../../protocols/kit/clock.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-local-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('freePort', () => {
  it('gives the preferred port, and another one when somebody has it', async () => {
    const preferred = await freePort()
    expect(await freePort(preferred)).toBe(preferred)
    const taken = createServer().listen(preferred, '127.0.0.1')
    await once(taken, 'listening')
    const other = await freePort(preferred)
    expect((taken.address() as AddressInfo).port).toBe(preferred)
    expect(other).not.toBe(preferred)
    taken.close()
  })

  it('takes none that an outgoing connection may get meanwhile', async () => {
    for (let count = 0; count < 20; count += 1) expect(await freePort()).toBeLessThan(32_768)
  })
})

describe('lockDirectory', () => {
  it('gives a directory to one at a time', async () => {
    const lock = await lockDirectory(directory)
    await expect(lockDirectory(directory)).rejects.toMatchObject({ code: 'conflict' })
    lock.close()
    await once(lock, 'close')
    const again = await lockDirectory(directory)
    again.close()
  })
})

describe('mayReach', () => {
  it('looks at every directory on the way', () => {
    const account = { uid: 65_534, gid: 65_534 }
    const closed = join(directory, 'closed')
    const inside = join(closed, 'inside')
    mkdirSync(inside, { recursive: true })
    chmodSync(directory, 0o755)
    chmodSync(inside, 0o755)
    chmodSync(closed, 0o755)
    expect(mayReach(inside, account)).toBe(true)
    chmodSync(closed, 0o700)
    expect(mayReach(inside, account)).toBe(false)
    expect(mayReach(inside, undefined)).toBe(true)
  })
})

describe('awaitLeftovers', () => {
  it('waits for what names the directory, and for nothing else', async () => {
    const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'])
    const left = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 300)', directory])
    await Promise.all([once(other, 'spawn'), once(left, 'spawn')])
    const gone = once(left, 'exit')
    writePids(directory, [other.pid!, left.pid!])
    await awaitLeftovers(directory, clock)
    await gone
    expect(other.exitCode).toBeNull()
    other.kill('SIGKILL')
  })
})

describe('options', () => {
  it('of the demo', () => {
    expect(readDemoOptions([])).toMatchObject({ randomPorts: false, readyFile: undefined })
    expect(readDemoOptions(['--ephemeral', '--ports', 'random', '--ready', '/x/y'])).toEqual({
      directory: undefined,
      readyFile: '/x/y',
      randomPorts: true,
    })
    for (const wrong of [['--ports', '12'], ['--nonsense'], ['--ephemeral', '--data-dir', 'x']]) {
      expect(() => readDemoOptions(wrong)).toThrow()
    }
  })

  it('of npm start: flags go before the environment, and a domain and an admin must be named', () => {
    const environment = { SALLYPORT_DOMAIN: 'a.example', SALLYPORT_ADMIN: 'x@example.com' }
    const options = readStartOptions(['--domain', 'b.example', '--control', '[::]:1'], environment)
    expect(options).toMatchObject({
      domain: 'b.example',
      adminEmail: 'x@example.com',
      control: { host: '::', port: 1 },
      postgres: { host: '127.0.0.1', port: 5_432 },
      http: { host: '127.0.0.1', port: 9_443 },
    })
    expect(() => readStartOptions([], {})).toThrow('--domain is missing')
    expect(() => readStartOptions(['--postgres', '5432'], environment)).toThrow('must look like')
  })
})
