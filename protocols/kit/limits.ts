/** Everything has a limit, and each limit has one name, here. Bytes, milliseconds and counts. */
export interface Limits {
  /** Open client connections of one proxy. */
  connectionsMax: number
  /** Connections of one client address that have not finished their handshake. */
  handshakesPerAddressMax: number
  /** Connections that have not finished their handshake, in all. */
  handshakesMax: number
  /** From accept to a complete start-up, TLS included. */
  handshakeMs: number
  /** Dial of a resource, its TLS and login included. */
  upstreamConnectMs: number
  /** Confirmation by control; past it, control counts as unreachable. */
  confirmMs: number
  sessionsMax: number
  sessionsPerPersonMax: number
  /** One message that is held whole in memory; larger ones are streamed and spilled. */
  messageInMemoryBytesMax: number
  /** One message at all. */
  messageBytesMax: number
  /** A start-up packet. */
  startupBytesMax: number
  /** What waits for its commit before going upstream, per session. */
  forwardQueueBytesMax: number
  /** Statement text or parameters inline in a record; longer ones become a blob. */
  inlineTextBytesMax: number
  /** Prepared statements and portals remembered per session. */
  preparedMax: number
  /** Texts and parameters of those, together, per session. */
  preparedBytesMax: number
  /** Statements sent and not yet answered per session. */
  pipelineMax: number
  /** What the farewell of a cut session may take before its sockets are destroyed. */
  farewellMs: number
  /** A session without traffic either way. 0 means never. */
  idleMs: number
  /** What SIGTERM waits for live sessions before cutting them. */
  drainMs: number
  /** Channels of one SSH connection at a time. */
  channelsMax: number
  /** Keys and other ways to sign in that one SSH connection may try. */
  authAttemptsMax: number
  /** Silence of an SSH peer after which it is asked for a sign of life; three without an answer end the connection. */
  keepaliveMs: number
  /** Every refusal is sent this long after arrival, whatever its cause (or at a multiple of it). */
  refusalMs: number
  /** People who are signing in while their client waits, of one address and in all. */
  signInsPerAddressMax: number
  signInsMax: number
  /** What a session that spans connections may go without any. */
  unusedSessionMs: number
  /** A connection that goes on asks so often whether what it shows still counts. */
  leaseCheckMs: number
  /** Streams of one HTTP/2 connection at a time. */
  streamsMax: number
  /** The head of an HTTP request, from its first byte; one may take twice this. */
  requestHeadMs: number
  /** Between two bytes of a request's body. */
  requestBodyMs: number
  /** After the last answer of an HTTP/1 connection, what its client still sends is read and dropped for so long, and so much of it. */
  lingerMs: number
  lingerBytesMax: number
  /** An HTTP connection without any request. */
  connectionIdleMs: number
  /** The same where nobody was admitted yet; there it holds for `sendMs` too. */
  unadmittedMs: number
  /**
   * Something waits for the client of an HTTP answer or of a WebSocket, and it took nothing for so long. What counts is what its socket takes at a
   * time, which may be a megabyte.
   */
  sendMs: number
  /** Text of one WebSocket, both ways together, that is recorded where the resource asks for it; what follows passes unrecorded. */
  webSocketTextBytesMax: number
}

export const defaultLimits: Readonly<Limits> = {
  connectionsMax: 10_000,
  handshakesPerAddressMax: 256,
  handshakesMax: 1_000,
  handshakeMs: 10_000,
  upstreamConnectMs: 10_000,
  confirmMs: 2_000,
  sessionsMax: 5_000,
  sessionsPerPersonMax: 2_000,
  messageInMemoryBytesMax: 64 * 1024,
  messageBytesMax: 1024 * 1024 * 1024 - 1,
  startupBytesMax: 10_000,
  forwardQueueBytesMax: 1024 * 1024,
  inlineTextBytesMax: 32 * 1024,
  preparedMax: 10_000,
  preparedBytesMax: 32 * 1024 * 1024,
  pipelineMax: 100_000,
  farewellMs: 100,
  idleMs: 0,
  drainMs: 30_000,
  channelsMax: 256,
  authAttemptsMax: 20,
  keepaliveMs: 30_000,
  refusalMs: 250,
  signInsPerAddressMax: 8,
  signInsMax: 500,
  unusedSessionMs: 300_000,
  leaseCheckMs: 5_000,
  streamsMax: 250,
  requestHeadMs: 10_000,
  requestBodyMs: 60_000,
  lingerMs: 5_000,
  lingerBytesMax: 256 * 1024 * 1024,
  connectionIdleMs: 180_000,
  unadmittedMs: 30_000,
  sendMs: 300_000,
  webSocketTextBytesMax: 16 * 1024 * 1024,
}
