import { seal, unseal } from '../../protocols/kit/sealed-file.ts'
import type { ControlChain } from './append-action.ts'

type Scope = Pick<ControlChain, 'realm' | 'epoch' | 'payloadKey'>

/** The payload (salt included) as it is kept. Its place is authenticated, so that two payloads cannot be swapped. */
export function sealPayload(scope: Scope, sequence: number, payload: Buffer): Buffer {
  return seal(scope.payloadKey, payload, label(scope, sequence))
}

export function openPayload(scope: Scope, sequence: number, sealed: Buffer): Buffer {
  return unseal(scope.payloadKey, sealed, label(scope, sequence))
}

function label({ realm, epoch }: Scope, sequence: number): string {
  return `sallyport control chain|${realm}|${epoch}|${sequence}`
}
