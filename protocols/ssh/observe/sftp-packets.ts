import { SallyportError } from '../../kit/errors.ts'

/** As OpenSSH: a longer packet is refused by both of its sides (SFTP_MAX_MSG_LENGTH). */
const packetBytesMax = 256 * 1024
const noBytes = Buffer.alloc(0)

/**
 * Takes a stream of SFTP packets (`length u32 | type u8 | body`, draft-ietf-secsh-filexfer-02, chapter 3) apart in whatever chunks it
 * comes. Of each body only the beginning is held; the rest is handed on as it passes.
 */
export interface SftpPacketReader {
  /** How much of a body of this type and length to hold before `packet` is called. Bytes. */
  hold(type: number, bodyBytes: number): number
  packet(type: number, held: Buffer, bodyBytes: number): void
  /** The next piece of a body beyond what was held. */
  rest(bytes: Buffer): void
}

export class SftpPackets {
  readonly #reader: SftpPacketReader
  /** What is held: the beginning of a packet. */
  #held = noBytes
  /** Bytes of the present body that are still to come past what was held. */
  #passing = 0

  constructor(reader: SftpPacketReader) {
    this.#reader = reader
  }

  /** Throws `protocol-violation`. */
  push(chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) {
      if (this.#passing > 0) {
        const piece = rest.subarray(0, this.#passing)
        this.#passing -= piece.length
        this.#reader.rest(piece)
        rest = rest.subarray(piece.length)
        continue
      }
      const bytes = this.#held.length === 0 ? rest : Buffer.concat([this.#held, rest])
      const wanted = this.#wanted(bytes)
      if (bytes.length < wanted) {
        // Copied: what is held must not keep a whole chunk alive, nor change with it.
        this.#held = Buffer.from(bytes)
        return
      }
      this.#held = noBytes
      const bodyBytes = bytes.readUInt32BE(0) - 1
      this.#passing = bodyBytes - (wanted - 5)
      this.#reader.packet(bytes[4]!, bytes.subarray(5, wanted), bodyBytes)
      rest = bytes.subarray(wanted)
    }
  }

  #wanted(bytes: Buffer): number {
    if (bytes.length < 5) return 5
    const length = bytes.readUInt32BE(0)
    if (length < 1 || length > packetBytesMax) {
      throw new SallyportError('protocol-violation', `an SFTP packet of ${length} bytes`, {
        clientMessage: 'this does not look like SFTP',
        hint: 'use an SFTP client (sftp, scp, rsync -e ssh, sshfs)',
      })
    }
    const bodyBytes = length - 1
    return 5 + Math.min(bodyBytes, this.#reader.hold(bytes[4]!, bodyBytes))
  }
}
