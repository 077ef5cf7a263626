/** Certificates of the proxy's host key by name: in memory for whatever was asked for, on disk for what the proxy serves. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { renewalDueAtMs } from '../../certs/rotation.ts'
import type { Log } from '../../protocols/engine.ts'
import { sleep, type Clock } from '../../protocols/kit/clock.ts'
import { readPrivateFile, writePrivateFile } from '../../protocols/kit/private-file.ts'
import { parseSshCertificate } from '../../protocols/kit/ssh-certificate.ts'
import { encodeSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import type { Metrics } from '../observe/metrics.ts'
import { createTokenBucket } from './token-bucket.ts'

export interface HostCertificates {
  /** `blob`: undefined where control gives none, or not in time. */
  get(name: string): Promise<{ readonly blob: Buffer | undefined; readonly isAsked: boolean }>
  /** How long control took for one of the last, ms. */
  recentMs(): number
  /** Sees that these have one, and keeps those on disk. Resolves with how many have none. */
  keep(names: readonly string[]): Promise<number>
}

export interface HostCertificatesOptions {
  readonly dataDir: string
  /** Blob of the host key. */
  readonly publicKey: Buffer
  readonly certify: (name: string, publicKey: Buffer) => Promise<Buffer>
  readonly waitMs: number
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'hostCertificate'>
  readonly log: Log
}

interface Held {
  readonly blob: Buffer
  readonly notBeforeMs: number
  readonly expiresAtMs: number
}

/** Names that nobody serves. */
const cachedMax = 10_000
const file = z.record(z.string().max(253), z.string().max(12_000))
/** Certificates for names that nobody serves, asked of control: so many at once, and per second after that. */
const strangersBurst = 240
const strangersPerSecond = 4
const askedAtOnceMax = 4
const recentMax = 16

export function openHostCertificates(options: HostCertificatesOptions): HostCertificates {
  const { publicKey, certify, clock, metrics, log } = options
  const path = join(options.dataDir, 'ssh-host-certificates')
  const cached = new LRUCache<string, Held>({ max: cachedMax })
  const kept = new Map<string, Held>()
  const asking = new Map<string, Promise<Held | undefined>>()
  // Proxies that started together do not ask together.
  const jitter = Math.random()
  const recent: number[] = []
  const mayAskForStranger = createTokenBucket(clock, strangersBurst, strangersPerSecond)
  for (const [name, blob] of readFile()) {
    try {
      kept.set(name, read(blob, name))
    } catch (error) {
      log.warn({ name, error: String(error) }, 'a host certificate on disk is of no use')
    }
  }

  function read(blob: Buffer, name: string): Held {
    const { kind, subject, principals, validAfter, validBefore } = parseSshCertificate(blob)
    const isOurs = encodeSshPublicKey(subject.key).equals(publicKey)
    if (kind !== 'host' || !isOurs || !principals.includes(name)) {
      throw new Error(`a certificate that is not this host's for ${name}`)
    }
    const [notBeforeMs, expiresAtMs] = [Number(validAfter) * 1_000, Number(validBefore) * 1_000]
    return { blob, notBeforeMs, expiresAtMs }
  }

  function readFile(): [string, Buffer][] {
    if (!existsSync(path)) return []
    try {
      const entries = file.parse(JSON.parse(readPrivateFile(path).toString('utf8')))
      return Object.entries(entries).map(([name, text]) => [name, Buffer.from(text, 'base64')])
    } catch (error) {
      log.warn({ path, error: String(error) }, 'the host certificates on disk cannot be read')
      return []
    }
  }

  function writeFile(): void {
    const entries = [...kept].map(([name, { blob }]) => [name, blob.toString('base64')])
    try {
      writePrivateFile(path, JSON.stringify(Object.fromEntries(entries)))
    } catch (error) {
      log.error({ path, error: String(error) }, 'the host certificates cannot be written')
    }
  }

  /** One question for all who wait for it. Never rejects. */
  function ask(name: string): Promise<Held | undefined> {
    const asked = asking.get(name) ?? askOnce(name).finally(() => asking.delete(name))
    asking.set(name, asked)
    return asked
  }

  async function askOnce(name: string): Promise<Held | undefined> {
    const askedMs = clock.monotonicMs()
    try {
      const held = read(await certify(name, publicKey), name)
      recent.push(clock.monotonicMs() - askedMs)
      if (recent.length > recentMax) recent.shift()
      metrics.hostCertificate('issued')
      if (kept.has(name)) kept.set(name, held)
      else cached.set(name, held)
      return held
    } catch (error) {
      metrics.hostCertificate('failed')
      log.warn({ name, error: String(error) }, 'control gave no host certificate')
      return undefined
    }
  }

  const present = (name: string): Held | undefined => {
    const held = kept.get(name) ?? cached.get(name)
    return held !== undefined && held.expiresAtMs > clock.wallMs() ? held : undefined
  }
  const isDue = (held: Held | undefined): boolean =>
    held === undefined || renewalDueAtMs(held, jitter) <= clock.wallMs()

  return {
    async get(name) {
      const held = present(name)
      const atHand = { blob: held?.blob, isAsked: false }
      if (!isDue(held) || (!kept.has(name) && !mayAskForStranger())) return atHand
      const asked = ask(name)
      // One that is only due soon is good for now.
      if (held !== undefined) return atHand
      const inTime = await Promise.race([asked, sleep(clock, options.waitMs)])
      return { blob: (inTime ?? undefined)?.blob, isAsked: true }
    },
    recentMs: () => recent[Math.floor(Math.random() * recent.length)] ?? 0,
    async keep(names) {
      const wanted = new Set(names)
      let changed = false
      for (const name of kept.keys()) {
        if (!wanted.has(name)) changed = kept.delete(name) || changed
      }
      const due = names.filter((name) => isDue(present(name)))
      const work = due.values()
      const askNext = async (): Promise<void> => {
        for (const name of work) {
          const held = await ask(name)
          if (held === undefined) continue
          kept.set(name, held)
          cached.delete(name)
          changed = true
        }
      }
      await Promise.all(Array.from({ length: askedAtOnceMax }, askNext))
      for (const name of names) {
        const held = cached.get(name)
        if (held === undefined || kept.has(name)) continue
        kept.set(name, held)
        changed = true
      }
      if (changed) writeFile()
      return names.filter((name) => present(name) === undefined).length
    },
  }
}
