/** Every protocol there is: one folder and one line each. */
import type { ProtocolName } from './activity.ts'
import type { Engine } from './engine.ts'
import { http } from './http/index.ts'
import { postgres } from './postgres/index.ts'
import { ssh } from './ssh/index.ts'

export const engines: Readonly<Record<ProtocolName, Engine>> = { postgres, ssh, http }
