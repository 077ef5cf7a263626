import type { Issued } from './sign-certificate.ts'

/**
 * When to renew, in Unix milliseconds: at two thirds of the certificate's life, less `jitter` (0 to 1) of a tenth of
 * it, so that proxies that started together do not renew together. The last third is for control being away.
 */
export function renewalDueAtMs(
  issued: Pick<Issued, 'notBeforeMs' | 'expiresAtMs'>,
  jitter = 0,
): number {
  const lifeMs = issued.expiresAtMs - issued.notBeforeMs
  const bounded = Math.min(1, Math.max(0, jitter))
  return Math.floor(issued.notBeforeMs + (lifeMs * 2) / 3 - (lifeMs / 10) * bounded)
}
