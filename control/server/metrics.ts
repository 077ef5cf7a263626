import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

/** What control counts. Labels are closed sets: route names, classes of status, verdicts. */
export interface ControlMetrics {
  readonly registry: Registry
  request(route: string, status: number, durationMs: number): void
  confirmed(verdict: 'confirmed' | 'denied', why: string, durationMs: number): void
  /** Read when the metrics are. */
  watch(read: { proxies: () => number; feedLagMs: () => number; unapplied: () => number }): void
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]

export function createMetrics(): ControlMetrics {
  const registry = new Registry()
  const registers = [registry]
  // Includes the lag of the event loop.
  collectDefaultMetrics({ register: registry, prefix: 'sallyport_control_' })
  const requests = new Histogram({
    name: 'sallyport_control_request_seconds',
    help: 'Requests of the API, from their head to their answer',
    labelNames: ['route', 'status'],
    buckets: seconds,
    registers,
  })
  const confirmations = new Histogram({
    name: 'sallyport_control_confirmation_seconds',
    help: 'Confirmations of sessions',
    labelNames: ['verdict'],
    buckets: seconds,
    registers,
  })
  const denials = new Counter({
    name: 'sallyport_control_denials_total',
    help: 'Sessions that were denied, by reason',
    labelNames: ['why'],
    registers,
  })
  return {
    registry,
    request(route, status, durationMs) {
      requests.observe({ route, status: `${Math.floor(status / 100)}xx` }, durationMs / 1_000)
    },
    confirmed(verdict, why, durationMs) {
      confirmations.observe({ verdict }, durationMs / 1_000)
      if (verdict === 'denied') denials.inc({ why })
    },
    watch({ proxies, feedLagMs, unapplied }) {
      const gauge = (name: string, help: string, read: () => number): void => {
        const metric: Gauge = new Gauge({
          name,
          help,
          registers,
          collect: (): void => metric.set(read()),
        })
      }
      gauge('sallyport_control_proxies_connected', 'Proxies whose feed is open here', proxies)
      gauge(
        'sallyport_control_feed_age_seconds',
        'Since the feed was last read to its head',
        () => feedLagMs() / 1_000,
      )
      gauge(
        'sallyport_control_feed_unapplied_max',
        'Positions that the slowest proxy has not on its disk yet',
        unapplied,
      )
    },
  }
}
