-- Tokens of people: `connect` lets one connection in, once; `api` stands for a person towards the API.
create table tokens (
  realm text not null references realms,
  id uuid not null,
  kind text not null check (kind in ('connect', 'api')),
  -- SHA-256 of the token; the token itself was shown once and is nowhere.
  token_hash bytea not null,
  person_id uuid not null,
  person_email text not null,
  made_at_ms bigint not null,
  expires_at_ms bigint not null,
  -- Of a connect token: when it let somebody in. Of an API token: its last use, to the hour.
  used_at_ms bigint,
  revoked_at_ms bigint,
  revoked_by text,
  revoke_reason text,
  -- Of connect tokens only. No level: any that the person holds.
  resource text,
  level text,
  -- The certificate that it was asked for with; it ends with it.
  certificate_serial text,
  session_id uuid,
  proxy_id uuid,
  -- Of API tokens only.
  name text,
  scope text check (scope in ('read', 'request')),
  primary key (realm, id),
  unique (realm, token_hash),
  foreign key (realm, person_id) references people (realm, id),
  check ((kind = 'connect') = (resource is not null)),
  check ((kind = 'api') = (scope is not null and name is not null))
);
create index tokens_by_person on tokens (realm, person_id, made_at_ms);
create index tokens_by_age on tokens (realm, made_at_ms, id);
create index tokens_by_certificate on tokens (realm, certificate_serial);
