import type { Command } from 'commander'
import { SallyportError } from '../../../protocols/kit/errors.ts'
import type { Cli } from '../cli.ts'
import { reasonOption } from '../options.ts'
import { withApi } from '../with-api.ts'

/** `sally certificates revoke SERIAL --reason TEXT` */
export function declareCertificatesRevoke(command: Command, cli: Cli): void {
  command
    .argument('<serial>', 'serial number in hex, as whoami or openssl print it')
    .addOption(reasonOption())
    .action(async (text: string, options: { reason: string }) => {
      const serial = text
        .toLowerCase()
        .replaceAll(':', '')
        .replace(/^(0x)?0*/, '')
      if (!/^[0-9a-f]{1,64}$/.test(serial)) {
        throw new SallyportError('usage', `not a serial number: ${text}`, {
          clientMessage: `${JSON.stringify(text)} is not a serial number in hex`,
          hint: 'openssl x509 -noout -serial -in cert.pem prints it',
        })
      }
      const body = { reason: options.reason }
      await withApi(cli, ({ api }) => api.call('certificateRevoke', { params: { serial }, body }))
      cli.answer(
        { done: true, serial },
        () => `revoked: certificate ${serial}; its sessions are being cut`,
      )
    })
}
