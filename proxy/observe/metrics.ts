/** Figures for Prometheus. Every label has a closed set of values. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ActivityKind, ProtocolName } from '../../protocols/activity.ts'
import type { EvidenceFacts } from '../grants/control-view.ts'
import type { ErrorCode } from '../../protocols/kit/errors.ts'
import type { CutReason, EndReason } from '../../protocols/session.ts'

/** What is read when somebody asks. */
export interface Readings {
  sessions(): Readonly<Record<ProtocolName, number>>
  connections(): number
  handshakes(): number
  /** People who are signing in while their client waits. */
  signIns(): number
  /** Age of the newest word of control, ms; undefined if it never came. */
  leaseAgeMs(): number | undefined
  feedPosition(): number
  /** What is lacking to serve the protocols that are listened for. */
  shortcomings(): Readonly<Partial<Record<ProtocolName, string | undefined>>>
  clockSkewMs(): number
  /** How often the policy was read again. */
  policy(): { taken: number; failed: number; isBehind: boolean }
  linkUp(): boolean
  spool(): {
    bytes: number
    bytesMax: number
    entries: number
    commitUs: number
    syncUs: number
    syncs: number
    batches: number
  }
  /** Age of the oldest batch that control has not acknowledged, ms. */
  shippingLagMs(): number
}

export interface Metrics {
  opened(protocol: ProtocolName): void
  ended(protocol: ProtocolName, reason: CutReason | EndReason): void
  /** From the order of a cut to the last byte, ms. */
  cut(protocol: ProtocolName, reason: CutReason, lastByteMs: number): void
  refused(protocol: ProtocolName, code: ErrorCode): void
  /** An activity was recorded; of each statement and each request, so it costs an addition. */
  reported(protocol: ProtocolName, kind: ActivityKind): void
  /** So many more are open. */
  webSockets(more: number): void
  admitted(protocol: ProtocolName, by: 'control' | 'lease', durationMs: number): void
  confirmed(durationMs: number): void
  /** Somebody was identified before they named a resource. */
  identified(by: EvidenceFacts['kind']): void
  hostCertificate(outcome: 'issued' | 'failed'): void
  /** In the Prometheus text format. */
  text(): Promise<string>
  readonly contentType: string
}

export function createMetrics(readings: Readings): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const name = (suffix: string): string => `sallyport_proxy_${suffix}`

  const opened = new Counter({
    name: name('sessions_opened_total'),
    help: 'Sessions opened',
    labelNames: ['protocol'],
    registers,
  })
  const ended = new Counter({
    name: name('sessions_ended_total'),
    help: 'Sessions ended, by why',
    labelNames: ['protocol', 'reason'],
    registers,
  })
  const refused = new Counter({
    name: name('refused_total'),
    help: 'Connections, sessions and requests refused or failed, by the code of the refusal',
    labelNames: ['protocol', 'code'],
    registers,
  })
  const identified = new Counter({
    name: name('identified_total'),
    help: 'People identified before they named a resource (SSH), by what they showed',
    labelNames: ['by'],
    registers,
  })
  const hostCertificates = new Counter({
    name: name('ssh_host_certificates_total'),
    help: 'Host certificates asked of control',
    labelNames: ['outcome'],
    registers,
  })
  const cutSeconds = new Histogram({
    name: name('cut_seconds'),
    help: 'From the order of a cut to the last byte',
    labelNames: ['protocol', 'reason'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
    registers,
  })
  const admitSeconds = new Histogram({
    name: name('admit_seconds'),
    help: 'From the arrival to the session, by who confirmed it',
    labelNames: ['protocol', 'by'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers,
  })
  const confirmSeconds = new Histogram({
    name: name('confirm_seconds'),
    help: 'From a question to control to its answer',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 2],
    registers,
  })
  const reported = new Map<ProtocolName, Map<ActivityKind, number>>()
  const activities = new Counter({
    name: name('activities_total'),
    help: 'Statements, commands, requests and whatever else was recorded',
    labelNames: ['protocol', 'kind'],
    registers,
    collect() {
      this.reset()
      for (const [protocol, kinds] of reported) {
        for (const [kind, count] of kinds) this.inc({ protocol, kind }, count)
      }
    },
  })
  void activities
  let openWebSockets = 0
  const live = new Gauge({
    name: name('sessions'),
    help: 'Live sessions',
    labelNames: ['protocol'],
    registers,
    collect() {
      for (const [protocol, count] of Object.entries(readings.sessions())) {
        this.set({ protocol }, count)
      }
    },
  })
  void live
  const degraded = new Gauge({
    name: name('degraded'),
    help: 'Whether a protocol is served without something that it should have; log and doctor say what',
    labelNames: ['protocol'],
    registers,
    collect() {
      for (const [protocol, lacking] of Object.entries(readings.shortcomings())) {
        this.set({ protocol }, lacking === undefined ? 0 : 1)
      }
    },
  })
  void degraded
  const reloads = new Counter({
    name: name('policy_reloads_total'),
    help: 'How often the policy was read again (SIGHUP); failed: it stayed as it was',
    labelNames: ['outcome'],
    registers,
    collect() {
      const { taken, failed } = readings.policy()
      this.reset()
      this.inc({ outcome: 'taken' }, taken)
      this.inc({ outcome: 'failed' }, failed)
    },
  })
  void reloads
  const gauge = (suffix: string, help: string, read: () => number): void => {
    const reading = new Gauge({
      name: name(suffix),
      help,
      registers,
      collect() {
        this.set(read())
      },
    })
    void reading
  }
  gauge('connections', 'Open client connections', () => readings.connections())
  gauge('handshakes', 'Connections before the end of their handshake', () => readings.handshakes())
  gauge('web_sockets', 'Open WebSockets', () => openWebSockets)
  gauge('sign_ins', 'People signing in while their client waits', () => readings.signIns())
  gauge('control_link_up', 'Whether the link to control is up', () => Number(readings.linkUp()))
  gauge(
    'policy_behind',
    'Whether the policy file was broken when it was last read, so that the one before it counts',
    () => Number(readings.policy().isBehind),
  )
  gauge('feed_position', 'Position of the feed that is applied', () => readings.feedPosition())
  gauge('feed_age_seconds', 'Age of the newest lease; NaN without one', () => {
    const ageMs = readings.leaseAgeMs()
    return ageMs === undefined ? Number.NaN : ageMs / 1_000
  })
  gauge(
    'clock_skew_seconds',
    "Control's clock minus ours, as much of it as no delay explains",
    () => readings.clockSkewMs() / 1_000,
  )
  gauge('spool_bytes', 'Segments and blobs on disk', () => readings.spool().bytes)
  gauge('spool_bytes_max', 'What the spool may take', () => readings.spool().bytesMax)
  gauge('spool_entries', 'Entries written since the start', () => readings.spool().entries)
  gauge('spool_batches', 'Batches committed since the start', () => readings.spool().batches)
  gauge('spool_syncs', 'Syncs to disk since the start', () => readings.spool().syncs)
  gauge('spool_commit_seconds', 'Time spent in commits', () => readings.spool().commitUs / 1e6)
  gauge('spool_sync_seconds', 'Time spent in syncs to disk', () => readings.spool().syncUs / 1e6)
  gauge('shipping_lag_seconds', 'Age of the oldest audit that control has not', () => {
    return readings.shippingLagMs() / 1_000
  })

  return {
    opened: (protocol) => opened.inc({ protocol }),
    ended: (protocol, reason) => ended.inc({ protocol, reason }),
    cut: (protocol, reason, lastByteMs) =>
      cutSeconds.observe({ protocol, reason }, lastByteMs / 1_000),
    refused: (protocol, code) => refused.inc({ protocol, code }),
    reported(protocol, kind) {
      let kinds = reported.get(protocol)
      if (kinds === undefined) reported.set(protocol, (kinds = new Map()))
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    },
    webSockets(more) {
      openWebSockets += more
    },
    admitted: (protocol, by, durationMs) =>
      admitSeconds.observe({ protocol, by }, durationMs / 1_000),
    identified: (by) => identified.inc({ by }),
    hostCertificate: (outcome) => hostCertificates.inc({ outcome }),
    confirmed: (durationMs) => confirmSeconds.observe(durationMs / 1_000),
    text: () => registry.metrics(),
    contentType: registry.contentType,
  }
}
