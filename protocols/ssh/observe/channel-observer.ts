/**
 * What watches one channel: it turns the bytes into activities. The relay shows it each chunk before the chunk is forwarded (from the
 * client) or passed on (from the upstream), and never more than that: an observer changes nothing and holds nothing back.
 */
export interface ChannelObserver {
  /** Before these bytes are forwarded. A throw (`protocol-violation`) ends the session: what is not understood does not pass. */
  fromClient(bytes: Buffer): void
  /** What the upstream answered, standard output only. */
  fromUpstream(bytes: Buffer): void
  /** The channel is over: settles what is not settled. Idempotent. */
  end(): void
}
