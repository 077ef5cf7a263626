import { describe, expect, test } from 'vitest'
import { decideCommand } from '../../../protocols/ssh/observe/command-rules.ts'
import { observeTunnel } from '../../../protocols/ssh/observe/sniff.ts'
import { nameLogin, resourceOfHost } from '../../../protocols/ssh/downstream/route.ts'

describe('rules for commands', () => {
  const rules = { allow: ['systemctl status *', 'make ?', 'a && b', 'ls'], deny: ['*secret*'] }

  test.each([
    ['systemctl status nginx', 'allowed'],
    ['systemctl status ', 'allowed'],
    ['systemctl statu', 'not-among-allowed'],
    ['make x', 'allowed'],
    ['make xy', 'not-among-allowed'],
    ['a && b', 'allowed'],
    ['ls', 'allowed'],
    ['ls -l', 'not-among-allowed'],
    ['systemctl status x; id', 'not-among-allowed'],
    ['systemctl status x && id', 'not-among-allowed'],
    ['systemctl status $(id)', 'not-among-allowed'],
    ['systemctl status `id`', 'not-among-allowed'],
    ['systemctl status x\nid', 'not-among-allowed'],
    ['systemctl status x | sh', 'not-among-allowed'],
    ['systemctl status >x', 'not-among-allowed'],
    ['systemctl status a\\ b', 'not-among-allowed'],
    ['systemctl status secret', 'denied'],
    ['x\nsecret\ny', 'denied'],
  ])('%j is %s', (line, decision) => expect(decideCommand(line, rules)).toBe(decision))

  test('without a list of allowed ones everything that is not denied may run', () => {
    expect(decideCommand('rm -rf x; y', { deny: ['reboot*'] })).toBe('allowed')
    expect(decideCommand('reboot now', { deny: ['reboot*'] })).toBe('denied')
  })

  test('a long line takes no long time', () => {
    const line = 'a'.repeat(30_000)
    expect(decideCommand(line, { deny: ['*a*a*a*a*a*a*b'] })).toBe('allowed')
  })
})

describe('what a tunnel carries', () => {
  const startup = Buffer.from('0000000804d2162f', 'hex')
  const greeting = Buffer.from('4a0000000a382e302e3300', 'hex')

  test.each([
    ['tcp', 'client', Buffer.from('SSH-2.0-x\r\n'), 'SSH'],
    ['tcp', 'upstream', Buffer.from('SSH-2.0-x\r\n'), 'SSH'],
    ['tcp', 'client', Buffer.from('GET / HTTP/1.1\r\n'), 'HTTP'],
    ['tcp', 'upstream', Buffer.from('HTTP/1.1 200'), 'HTTP'],
    ['tcp', 'client', startup, 'PostgreSQL'],
    ['tcp', 'upstream', greeting, 'MySQL'],
    ['tcp', 'client', Buffer.from('16030100', 'hex'), 'TLS'],
    ['postgres', 'client', Buffer.from('SSH-2.0-x\r\n'), 'SSH'],
    ['http', 'client', startup, 'PostgreSQL'],
  ] as const)('%s: from the %s %j is cut', (carries, side, bytes, name) => {
    const inPieces = observeTunnel(carries, 'x:1')
    const feed = (observer: typeof inPieces, piece: Buffer): void =>
      side === 'client' ? observer.fromClient(piece) : observer.fromUpstream(piece)
    expect(() => feed(observeTunnel(carries, 'x:1'), Buffer.from(bytes))).toThrow(name)
    expect(() => {
      for (const byte of bytes) feed(inPieces, Buffer.of(byte))
    }).toThrow(name)
  })

  test.each([
    ['tcp', Buffer.from('EHLO me\r\n'), Buffer.from('220 hello\r\n')],
    ['ssh', Buffer.from('SSH-2.0-a\r\n'), Buffer.from('SSH-2.0-b\r\n')],
    ['postgres', startup, Buffer.from('S')],
    ['http', Buffer.from('POST /x HTTP/1.1\r\n'), Buffer.from('HTTP/1.1 204 No\r\n')],
    ['http', Buffer.from('16030100', 'hex'), Buffer.from('16030300', 'hex')],
    ['mysql', Buffer.from('2000000185a67f20', 'hex'), greeting],
  ] as const)('%s passes as what it is', (carries, asked, answered) => {
    const observer = observeTunnel(carries, 'x:1')
    observer.fromUpstream(Buffer.from(answered))
    observer.fromClient(Buffer.from(asked))
    observer.fromClient(Buffer.from('SSH-2.0 later on'))
  })

  test('what is declared as something and is nothing known is cut', () => {
    const observer = observeTunnel('postgres', 'x:1')
    observer.fromUpstream(Buffer.from('220 hello\r\n'))
    expect(() => observer.fromClient(Buffer.from('EHLO me\r\n'))).toThrow('not postgres')
  })
})

describe('what a login asks for', () => {
  test('is named once', () => {
    expect(nameLogin('ops~web1', undefined)).toEqual({ resource: 'web1', wanted: 'ops' })
    expect(nameLogin('sallyport~Web1', undefined)).toEqual({ resource: 'web1', wanted: '' })
    expect(nameLogin('me', undefined)).toEqual({ resource: undefined, wanted: 'me' })
    expect(nameLogin('sallyport', 'web1')).toEqual({ resource: 'web1', wanted: '' })
    expect(nameLogin('ops~web1', 'web1')).toEqual({ resource: 'web1', wanted: 'ops' })
    expect(() => nameLogin('ops~web2', 'web1')).toThrow('host web1')
  })

  test('a host of the domain is a resource', () => {
    expect(resourceOfHost('Web1.access.test.', 'access.test')).toBe('web1')
    for (const host of ['access.test', 'a.b.access.test', 'web1.other.test', '.access.test', '']) {
      expect(resourceOfHost(host, 'access.test')).toBeUndefined()
    }
  })
})
