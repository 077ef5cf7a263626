/**
 * The statement audit of one connection: every statement that goes upstream has one record before it goes, and
 * one outcome when the server has answered. Right under pipelining, interleaved portals, errors that skip, COPY
 * in both directions, and any cutting of the stream into chunks.
 *
 * Source: PostgreSQL documentation, "Message Flow" (simple query, extended query, pipelining, COPY
 * operations), and exec_*_message in src/backend/tcop/postgres.c for what fails when.
 */
import type { Clock } from '../kit/clock.ts'
import type { Limits } from '../kit/limits.ts'
import { Answers } from './observe/answers.ts'
import type { AuditSink } from './observe/ledger.ts'
import { Ledger } from './observe/ledger.ts'
import { Requests } from './observe/requests.ts'
import type { FrameVisitor } from './wire/frames.ts'

export interface Observer {
  /** Sees the client's messages. */
  readonly requests: FrameVisitor
  /** Sees the server's messages. */
  readonly answers: FrameVisitor
  /** To be called once per chunk, before it is scanned: one look at the clock for all its messages. */
  tick(): void
  /** A setting as the server reports it, during the login and after. */
  parameter(name: string, value: string): void
  /** The server said with an error that it ends the connection. */
  readonly fatalSeen: boolean
  /** Nothing is open: every question was answered. */
  readonly idle: boolean
  /** The connection is over. What was not answered is settled as unknown. */
  finish(): void
}

/** Starts observing a connection whose login is done. */
export function observe(sink: AuditSink, limits: Limits, clock: Clock): Observer {
  const ledger = new Ledger(sink, limits, clock)
  const parameter = (name: string, value: string): void => {
    if (name === 'client_encoding') ledger.encoding = value
    else if (name === 'standard_conforming_strings') ledger.plainBackslashes = value === 'off'
  }
  const requests = new Requests(ledger)
  const answers = new Answers(ledger, parameter)
  return {
    requests,
    answers,
    get fatalSeen() {
      return answers.fatalSeen
    },
    tick: () => ledger.tick(),
    parameter,
    get idle() {
      return ledger.head() === 0
    },
    finish() {
      requests.abandon()
      ledger.finish()
    },
  }
}
