/**
 * What the proxy shows as an SSH host: one Ed25519 key, and certificates of it, one for each exact name (OpenSSH takes no wildcards there).
 * Every name of the domain has one, known or not, after the same time; the bare key is the second choice, for clients that pinned it.
 */
import { createPublicKey, sign } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Host, HostKey, Log } from '../../protocols/engine.ts'
import { sleep, type Clock, type Timer } from '../../protocols/kit/clock.ts'
import { encodeSshPublicKey } from '../../protocols/kit/ssh-public-key.ts'
import type { ControlView } from '../grants/control-view.ts'
import type { Metrics } from '../observe/metrics.ts'
import { openHostCertificates, type HostCertificates } from './host-certificates.ts'
import { loadHostKey } from './load-host-key.ts'
import { createTokenBucket } from './token-bucket.ts'

export interface HostKeysOptions {
  readonly dataDir: string
  readonly domain: string
  readonly group: string
  readonly view: Pick<ControlView, 'resources' | 'onChange' | 'grants'>
  /** Asks control for a certificate of this key for this name. */
  readonly certify: (name: string, publicKey: Buffer) => Promise<Buffer>
  /** What a new connection may wait for a certificate, ms. */
  readonly waitMs: number
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'hostCertificate'>
  readonly log: Log
}

export interface HostKeys {
  readonly hostKeys: Host['hostKeys']
  /** Asks for the names of all resources, and again before theirs end. Returns how to stop. */
  start(): () => void
}

/**
 * The first answer for a name takes as long as control takes for one, rounded up to this, also where the certificate was at hand: else
 * the time would tell which names there are. From the second on all are at hand.
 */
const stepMs = 20
const seenMax = 10_000
/**
 * Names that one person may ask for without a grant on them, whether there are such or not: so many at once, and per second after that. Well
 * below what control certifies for names that nobody serves: past that, only names that there are would have a certificate.
 */
const curiousBurst = 60
const curiousPerSecond = 1
const peopleMax = 10_000
const lookEveryMs = 60_000
/** The first looks come sooner: control may not be there yet. */
const firstLookMs = 1_000
const plainAlgorithm = 'ssh-ed25519'
const certificateAlgorithm = 'ssh-ed25519-cert-v01@openssh.com'
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

export function createHostKeys(options: HostKeysOptions): HostKeys {
  const { clock, view, log } = options
  const domain = options.domain.toLowerCase()
  const privateKey = loadHostKey(options.dataDir)
  const publicKey = encodeSshPublicKey(createPublicKey(privateKey))
  const signWith = (data: Buffer): Buffer => sign(null, data, privateKey)
  const bare: HostKey = { publicKey, algorithm: plainAlgorithm, sign: signWith }
  const certificates: HostCertificates = openHostCertificates({ ...options, publicKey })

  const seen = new LRUCache<string, true>({ max: seenMax })

  const askedFor = new LRUCache<string, true>({ max: seenMax })
  const curious = new LRUCache<string, () => boolean>({ max: peopleMax })

  function mayAsk(personId: string, resource: string): boolean {
    if (view.grants.of(personId, resource).length > 0) return true
    const key = `${personId} ${resource}`
    if (askedFor.has(key)) return true
    const take = curious.get(personId) ?? createTokenBucket(clock, curiousBurst, curiousPerSecond)
    curious.set(personId, take)
    if (!take()) return false
    askedFor.set(key, true)
    return true
  }

  const knownNames = (): string[] => {
    const names = [domain]
    for (const { name, protocol, group } of view.resources()) {
      if (protocol === 'ssh' && group === options.group) names.push(`${name}.${domain}`)
    }
    return names
  }

  return {
    async hostKeys(name, asker) {
      const arrivedMs = clock.monotonicMs()
      const asked = name.toLowerCase()
      const own = asked.endsWith(`.${domain}`) ? asked.slice(0, -domain.length - 1) : ''
      if (asked !== domain && (own === '' || own.includes('.'))) return undefined
      if (asker !== undefined && own !== '' && !mayAsk(asker.personId, own)) return undefined
      const isCertified = asked === domain || label.test(own)
      const { blob: certificate, isAsked } = isCertified
        ? await certificates.get(asked)
        : { blob: undefined, isAsked: false }
      if (asked !== domain && !seen.has(asked)) {
        seen.set(asked, true)
        if (!isAsked) await sleep(clock, certificates.recentMs())
        const elapsedMs = clock.monotonicMs() - arrivedMs
        await sleep(clock, Math.max(1, Math.ceil(elapsedMs / stepMs)) * stepMs - elapsedMs)
      }
      if (certificate === undefined) return [bare]
      return [{ publicKey: certificate, algorithm: certificateAlgorithm, sign: signWith }, bare]
    },
    start() {
      let timer: Timer | undefined
      let isStopped = false
      let looking = false
      const arm = (delayMs: number): void => {
        timer?.cancel()
        if (!isStopped) timer = clock.startTimer(delayMs, look)
      }
      const look = (): void => {
        if (looking) return
        looking = true
        certificates
          .keep(knownNames())
          .then(
            (missing) => arm(missing > 0 ? firstLookMs * 10 : lookEveryMs),
            (error: unknown) => {
              log.error({ error: String(error) }, 'host certificates were not looked at')
              arm(lookEveryMs)
            },
          )
          .finally(() => (looking = false))
      }
      view.onChange((change) => {
        const isNew = change.kind === 'resynced' || change.kind === 'resource'
        // Those of one batch of the feed are asked for together.
        if (isNew && !looking) arm(firstLookMs)
      })
      look()
      return () => {
        isStopped = true
        timer?.cancel()
      }
    },
  }
}
