import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Redactor } from '../../../protocols/postgres/observe/redactor.ts'
import { findTriggers, triggers } from '../../../protocols/postgres/observe/triggers.ts'

function redact(sql: string, pieceBytes = Infinity, plainBackslashes = false) {
  const redactor = new Redactor({ plainBackslashes })
  const out: Buffer[] = []
  const write = (bytes: Buffer, start: number, end: number): void => {
    out.push(Buffer.from(bytes.subarray(start, end)))
  }
  const bytes = Buffer.from(sql)
  const step = Math.min(pieceBytes, Math.max(1, bytes.length))
  for (let at = 0; at < bytes.length; at += step) {
    redactor.push(bytes, at, Math.min(bytes.length, at + step), write)
  }
  redactor.finish(write)
  return { text: Buffer.concat(out).toString(), redacted: redactor.redacted }
}

/** `§` stands for the secret; each text must come out without it, and with `kept` where given. */
const secrets: [sql: string, kept?: string][] = [
  ["alter role a password '§'"],
  ["ALTER USER a WITH ENCRYPTED PASSWORD 'it''s §' VALID UNTIL 'tomorrow'", "'tomorrow'"],
  ["create role a login password E'\\'§' connection limit 3", 'connection limit 3'],
  ["create role a password U&'\\0041§' uescape '!'", "uescape '!'"],
  ["create role a password u&'§'"],
  ['create role a password $$§$$; select 1', 'select 1'],
  ["create role a password $x$§ $$ '§' $x$, login", ', login'],
  ["create user a password/* 'a' */--'b'\n'§'", "/* 'a' */--'b'"],
  ["create user a password '§'\n  '§ again'"],
  ["select 'before'; alter role a password '§'; select 'after'", "select 'after'"],
  ["prepare p as select 1; alter role a password '§'", 'prepare p'],
  ["alter user mapping for a server s options (set password '§', user 'bob')", "user 'bob'"],
  ['create user mapping for a server s options ("password" \'§\')'],
  ["create server s foreign data wrapper w options (sslpassword '§', host 'h')", "host 'h'"],
  ["create subscription s connection 'host=h password=§ user=u' publication p", 'user=u'],
  ["create subscription s connection 'host=h password = ''§ §'' user=u'", 'host=h'],
  ["select dblink('host=h passwd=§', 'select 1')", "'select 1'"],
  ["select dblink_connect('postgresql://u:§@h/db'), 'kept'", "'kept'"],
  ["select dblink_connect($$postgres://u:§@h/db$$), 'kept'", "'kept'"],
  ['select dblink_connect($$host=h password=§$$)'],
  ["do $$ begin alter role a password '§'; perform 'kept'; end $$", "'kept'"],
  ["do $$ begin execute 'alter role a password ''§'' login'; perform 'kept'; end $$", "'kept'"],
  ["do 'begin execute ''alter role a password ''''§'''' login''; end'"],
  ["do $b$ begin execute $q$alter role a password '§'$q$; end $b$; select 'kept'", "'kept'"],
  ["do $$ begin execute format('alter role %I password %L', 'bob', '§'); end $$"],
  ["do $$ begin execute 'alter role a ' || 'password ' || quote_literal('§'); end $$"],
  ["select format('alter role %I password %L', 'bob', '§')"],
  ["select 'alter role a password /**/ ''§'''"],
  ["select dblink_connect('c', 'host=h password=' || '§'); select 'kept'", "'kept'"],
  ["select dblink_connect('c', concat('host=h password=', '§', ' user=u'))"],
  ["select dblink_connect('c', format('host=h password=%s', '§'))"],
  ["select dblink_connect('c', $$host=h password=$$ || '§')"],
  ["select E'alter role a password \\'§\\''"],
]

describe('credentials are taken out', () => {
  test.each(secrets)('%s', (template, kept = '') => {
    const sql = template.replaceAll('§', 'hunter2')
    const { text, redacted } = redact(sql)
    expect(text).not.toContain('hunter2')
    expect(text).toContain('[redacted]')
    expect(text).toContain(kept)
    expect(redacted).toBe(true)
    expect(findTriggers(Buffer.from(sql), 0, Buffer.byteLength(sql))).toBeGreaterThan(0)
    for (const size of [1, 2, 3, 5, 11]) expect(redact(sql, size).text).toBe(text)
  })

  test('standard_conforming_strings off', () => {
    const sql = "select 'a\\''; alter role a password 'hunter2'"
    expect(redact(sql, Infinity, true).text).not.toContain('hunter2')
  })
})

const innocent = [
  "update users set password = 'of the application' where id = 1",
  "select 'password' as a, 'b'",
  "select $1, $2::text /* it's password 'x' */ -- password 'y'",
  "select \"a$b$c\", $$it's$$, E'\\\\', U&\"password\", 'it''s'",
  "select /* a /* nested */ 'comment' */ 'text'",
  "insert into t values ('reset your password', 'x', 'y')",
  "select * from information_schema.columns where column_name = 'password' and a = 'b'",
  '',
]

test.each(innocent)('left as it is: %s', (sql) => {
  for (const size of [1, 2, 7, Infinity]) {
    expect(redact(sql, size)).toEqual({ text: sql, redacted: false })
  }
})

test('a parameter after PASSWORD marks the statement, so that its parameters are hidden', () => {
  expect(redact('alter role a password $1')).toEqual({
    text: 'alter role a password $1',
    redacted: true,
  })
})

test('any bytes in any pieces come out the same, and nothing is lost where nothing is hidden', () => {
  const piece = fc.constantFrom(
    ...["'", '"', '$', '$$', '$a$', '--', '/*', '*/', '\n', '\\', ';', '=', ' ', 'E', 'U&', '%L'],
    ...['password', 'x', 'postgres://', 'alter', '1', '$1', 'ä'],
  )
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      (list, size) => {
        const sql = list.join('')
        const whole = redact(sql)
        expect(redact(sql, size)).toEqual(whole)
        if (!whole.redacted) expect(whole.text).toBe(sql)
      },
    ),
    { numRuns: process.env['SALLYPORT_LONG'] === '1' ? 50_000 : 2_000 },
  )
})

test('triggers are found wherever they stand', () => {
  const words: [string, number][] = [
    ['PaSsWord', triggers.credential],
    ['passwd', triggers.credential],
    ['postgresql://', triggers.credential],
    ['POSTGRES://', triggers.credential],
    ['dblink', triggers.dblink],
    ['DEALLOCATE', triggers.names],
    ['discard all', triggers.names],
  ]
  for (const [word, bit] of words) {
    for (let before = 0; before < 12; before++) {
      for (let after = 0; after < 12; after++) {
        const bytes = Buffer.from('s'.repeat(before) + word + 'd'.repeat(after))
        expect(findTriggers(bytes, 0, bytes.length) & bit).toBe(bit)
      }
    }
  }
  expect(findTriggers(Buffer.from('select pass, word from discs'), 0, 28)).toBe(0)
})
