import { expect, test } from 'vitest'
import { observeChannel, type ChannelRequest } from '../../../protocols/ssh/observe.ts'
import { createTestClock } from '../../test-clock.ts'
import { createSink } from './observe-world.ts'

const choose = (kind: ChannelRequest['kind'], command: string, hasTerminal = false) =>
  observeChannel(createSink(), createTestClock(), { kind, command, hasTerminal, channel: 0 })

test.each([
  ['subsystem', 'sftp', true],
  ['exec', '/usr/lib/openssh/sftp-server', true],
  ['exec', 'scp -t /tmp', true],
  ['exec', 'scp -r -f /tmp', true],
  ['exec', 'rsync --server -e.LsfxCIvu . /tmp', undefined],
  ['exec', 'sftp-server; rm -rf /', undefined],
  ['exec', 'uptime', undefined],
  ['shell', '', undefined],
] as const)('%s %s', (kind, command, isFileTransfer) => {
  expect(choose(kind, command)?.isFileTransfer).toBe(isFileTransfer)
})

test('whatever runs at a terminal is watched as one', () => {
  expect(choose('exec', 'scp -t /tmp', true)?.isFileTransfer).toBe(false)
  expect(choose('shell', '', true)?.isFileTransfer).toBe(false)
})
