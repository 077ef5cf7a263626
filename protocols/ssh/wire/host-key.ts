const certificateSuffix = '-cert-v01@openssh.com'

/** The algorithm of the signatures of a key or of a certificate's key. */
export function plainAlgorithm(algorithm: string): string {
  if (!algorithm.endsWith(certificateSuffix)) return algorithm
  const base = algorithm.slice(0, -certificateSuffix.length)
  return base.startsWith('sk-') ? `${base}@openssh.com` : base
}
