/** What `sally help TOPIC` says besides commands. */
import { exitCodeMeanings } from './exit-codes.ts'

const exitCodeLines = exitCodeMeanings.map(
  ([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`,
)

export const helpTopics: Readonly<Record<string, string>> = {
  'exit-codes': [
    'What sally exits with:',
    '',
    ...exitCodeLines,
    '',
    'sally connect exits with the code of psql, once psql runs.',
  ].join('\n'),
  environment: [
    'Variables that sally reads:',
    '',
    '  SALLY_HOME            the signed-in home; ~/.sallyport if it is not set',
    '  SALLY_DEBUG=1         show where an error came from',
    '  SALLYPORT_PROXY_DATA  data directory of a proxy, for sally secret; ./data/proxy if it is not set',
    '  PGSERVICEFILE         where sally pg-service writes; ~/.pg_service.conf if it is not set',
    '  NO_COLOR              no colours',
    '  COLUMNS               how wide tables are, also where the output is no terminal',
    '  XDG_CACHE_HOME        where compiled code is kept (sallyport/code); ~/.cache if it is not set',
    '',
    'A home has config.json, control-ca.pem, ca.pem, cert.pem, key.pem (0600) and audit-heads.json.',
  ].join('\n'),
  json: [
    'With --json the answer is one JSON value on standard output, and nothing else is said. Shapes are',
    'those of control’s API (GET /openapi.json there); times are Unix milliseconds, fields in *Us',
    'microseconds. Lists are {"items": […], "next": null}; next is not null where --limit left some off.',
    '',
    'Errors are {"error": {"code", "message", "hint"?, "issues"?}} on standard error. Codes are stable and',
    'listed in ERRORS.md; issues name path, message, line and column of mistakes in a file.',
    '',
    'Answers that are not of the API:',
    '  connect             {"command": ["psql", …], "env": {…}}; nothing is run',
    '  request             {"request", "grant"}; grant is null until it is approved. So does extend, for engineers',
    '  give-back           {"items": [grants], "next": null}',
    '  pg-service          {"file", "written", "taken": [names], "services": [{"service", "keywords"}]}',
    '  audit verify        {"ok", "source", "realm", "atMs", "segments", "batches", "entries", "chains", "damage",',
    '                       "damageOmitted", "heads": {"compared", "newer"}, "newKeys"}',
    '  audit export        {"file", "payloads", "realm", "exportedAtMs", "segments"}; with --statements',
    '                       {"file", "statements", "running", "complete", "missing"}',
    '  sessions watch      a value a line: {"event": "session"|"grant", "grantExpiresAtMs", …}, {"event": "activity",',
    '                       "activity"} (again once its outcome is known), {"event": "ended", "session"}',
    '  sessions cut        {"done": true, "id"}',
    '  certificates revoke {"done": true, "serial"}',
    '  people certificate  {"home", "email", "serial", "expiresAtMs"}',
    '  secret set          {"done": true, "reference", "replaced", "file"}',
    '  secret list         {"file", "items": [{"reference"}]}',
    '  doctor              {"ok", "checks": [{"name", "state": "ok"|"warn"|"fail", "detail", "mend"?}]}',
    '  completion          {"shell", "script"}',
    '  help                {"topic", "text"}',
    '  --version           {"version", "node"}',
  ].join('\n'),
}
