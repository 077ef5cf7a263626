import type { Resource } from '../../control/api/resource.ts'

/** As for a command's output at most: frames of a WebSocket go on for as long as it is open. */
const webSocketBytesMax = 1_073_741_824

/** Of each stream that a session records, so much is kept. Of HTTP the engine records less where a body may be recorded less. */
export function streamBytesMaxOf({ ssh, http }: Resource): number {
  if (ssh !== undefined) return ssh.recording.streamBytesMax
  if (http === undefined) return 0
  const { requestBodyBytes, responseBodyBytes, webSocketText } = http.recording
  return webSocketText ? webSocketBytesMax : requestBodyBytes + responseBodyBytes
}
