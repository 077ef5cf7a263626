import { z } from 'zod'
import * as names from './names.ts'
import { recordingList, recordingPage, recordingQuery } from './recording-shapes.ts'
import type { Route } from './route.ts'

export const recordingRoutes = {
  recordings: {
    method: 'GET',
    path: '/v1/sessions/{id}/recordings',
    summary: 'Recordings of a session; their titles (command lines) for auditors only',
    access: ['engineer', 'admin', 'auditor'],
    params: z.strictObject({ id: names.id }),
    response: recordingList,
  },
  recordingRead: {
    method: 'GET',
    path: '/v1/sessions/{id}/recordings/{number}/frames',
    summary: 'Plays a recording, also while it goes on; each reading is audited, once',
    access: ['auditor'],
    params: z.strictObject({
      id: names.id,
      number: z.coerce.number().int().min(1).max(4_294_967_295),
    }),
    query: recordingQuery,
    response: recordingPage,
  },
} as const satisfies Record<string, Route>
