/** Numbers and small messages of SSH: RFC 4250, 4252, 4253, 4254, 4256, 8308. */
import { sshString, sshU32 } from '../kit/ssh-wire.ts'

export const messages = {
  disconnect: 1,
  serviceRequest: 5,
  serviceAccept: 6,
  extInfo: 7,
  userauthRequest: 50,
  userauthFailure: 51,
  userauthSuccess: 52,
  userauthBanner: 53,
  /** 60 and 61 mean what the method says. */
  userauthPkOk: 60,
  userauthInfoRequest: 60,
  userauthInfoResponse: 61,
  globalRequest: 80,
  requestSuccess: 81,
  requestFailure: 82,
  channelOpen: 90,
  channelOpenConfirmation: 91,
  channelOpenFailure: 92,
  channelWindowAdjust: 93,
  channelData: 94,
  channelExtendedData: 95,
  channelEof: 96,
  channelClose: 97,
  channelRequest: 98,
  channelSuccess: 99,
  channelFailure: 100,
} as const

export const disconnectReasons = {
  protocolError: 2,
  keyExchangeFailed: 3,
  byApplication: 11,
  tooManyConnections: 12,
  noMoreAuthMethods: 14,
} as const

export const openFailures = {
  administrativelyProhibited: 1,
  connectFailed: 2,
  unknownChannelType: 3,
  resourceShortage: 4,
} as const

/** Type of extended data: standard error. */
export const stderrType = 1

/** What one channel may have on its way to us, and one packet of its data. */
export const windowBytes = 2 * 1024 * 1024
export const packetBytesMax = 32 * 1024
/** Any message but a request on a channel (RFC 4253, 6.1). */
export const messageBytesMax = 35_000
/** A command, or what else a request carries: with all that is around it OpenSSH's sshd takes 256 KiB in a packet. */
export const requestBytesMax = 255 * 1024
/** What is read of one who is signed in: more than that, so that a longer command is on record and refused in words. */
export const longPacketBytesMax = 512 * 1024

export function sshBoolean(value: boolean): Buffer {
  return Buffer.of(value ? 1 : 0)
}

export function message(type: number, ...fields: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.of(type), ...fields])
}

export function disconnectMessage(reason: number, text: string): Buffer {
  return message(messages.disconnect, sshU32(reason), sshString(text), sshString(''))
}

export function userauthFailure(methods: readonly string[]): Buffer {
  return message(messages.userauthFailure, sshString(methods.join(',')), sshBoolean(false))
}

export function userauthBanner(text: string): Buffer {
  return message(messages.userauthBanner, sshString(text), sshString(''))
}

/** RFC 4256, 3.2, with no prompts: a text that the client shows, and answers by itself. */
export function userauthText(text: string): Buffer {
  const fields = [sshString(''), sshString(text), sshString(''), sshU32(0)]
  return message(messages.userauthInfoRequest, ...fields)
}

/** RFC 8308, 3.1. */
export function serverSignatureAlgorithms(algorithms: readonly string[]): Buffer {
  const fields = [sshString('server-sig-algs'), sshString(algorithms.join(','))]
  return message(messages.extInfo, sshU32(1), ...fields)
}

export function channelOpenFailure(channel: number, reason: number, text: string): Buffer {
  const fields = [sshU32(channel), sshU32(reason), sshString(text), sshString('')]
  return message(messages.channelOpenFailure, ...fields)
}

/** RFC 4254, 6.10. */
export function exitSignal(name: string, text: string): Buffer {
  return Buffer.concat([sshString(name), sshBoolean(false), sshString(text), sshString('')])
}
