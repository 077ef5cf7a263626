/** What helps whoever has no certificate, or none that counts. */
export const signInHint =
  'sign in: sally login; without an identity provider, an admin: sally people certificate EMAIL --home DIR'
