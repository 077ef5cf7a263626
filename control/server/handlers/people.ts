import { issueCertificate } from '../../issue/issue-certificate.ts'
import { revokeCertificate } from '../../issue/revoke-certificate.ts'
import { createPerson } from '../../people/create-person.ts'
import { listPeople } from '../../people/list-people.ts'
import { restorePerson } from '../../people/restore-person.ts'
import { revokePerson } from '../../people/revoke-person.ts'
import { nowMs, type Control } from '../../control.ts'
import { actorOf } from '../actor-of.ts'
import type { Handlers } from '../handlers.ts'

type PeopleRoute =
  | 'whoami'
  | 'people'
  | 'personCreate'
  | 'personRevoke'
  | 'personRestore'
  | 'certificateIssue'
  | 'certificateRevoke'

export function peopleHandlers(control: Control): Pick<Handlers, PeopleRoute> {
  return {
    async whoami({ caller }) {
      const { id, email, name, roles, groups, createdAtMs } = caller
      return {
        person: {
          ...{ id, email, name, roles: [...roles], groups: [...groups] },
          ...{ state: 'active', createdAtMs },
        },
        realm: control.realm,
        certificate: caller.via === 'certificate' ? { ...caller.certificate } : null,
        ...(caller.via === 'token' ? { token: { ...caller.token } } : {}),
        login:
          caller.via === 'certificate' && caller.login !== null
            ? { ...caller.login, amr: [...caller.login.amr] }
            : null,
        controlTimeMs: nowMs(control.clock),
      }
    },
    people: (_, { query }) => listPeople(control, query),
    personCreate: (request, { body }) => createPerson(control, actorOf(request), body),
    personRevoke: (request, { params, body }) =>
      revokePerson(control, actorOf(request), params.id, body.reason),
    personRestore: (request, { params, body }) =>
      restorePerson(control, actorOf(request), params.id, body.reason),
    certificateIssue: (request, { params, body }) =>
      issueCertificate(control, actorOf(request), params.id, body),
    async certificateRevoke(request, { params, body }) {
      await revokeCertificate(control, actorOf(request), params.serial, body.reason, {
        lost: true,
      })
      return { done: true }
    },
  }
}
