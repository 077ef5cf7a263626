-- Browsers: sign-ins on the console's origin, and what they carry on to apps.

-- A sign-in of a browser: begun and finished by control's own pages, no certificate is made.
alter table login_attempts drop constraint login_attempts_kind_check;
alter table login_attempts add constraint login_attempts_kind_check
  check (kind in ('device', 'code', 'terminal', 'browser'));

-- The provider's own session (claim sid), which it names when that ends (OpenID Connect Back-Channel Logout 1.0).
alter table logins add column sid text;
create index logins_by_sid on logins (realm, issuer, sid) where sid is not null and ended_at_ms is null;

-- Logout tokens of the provider that were acted on: each is good once.
create table used_logout_tokens (
  realm text not null references realms,
  -- SHA-256 of issuer and jti.
  token_hash bytea not null,
  expires_at_ms bigint not null,
  primary key (realm, token_hash)
);
create index used_logout_tokens_by_end on used_logout_tokens (realm, expires_at_ms);

-- One browser's session at the console: a cookie of the console's origin.
create table console_sessions (
  realm text not null references realms,
  id uuid not null,
  -- SHA-256; the secret itself is in the browser and nowhere else.
  secret_hash bytea not null,
  login_id uuid not null,
  person_id uuid not null,
  remote_address text not null,
  begun_at_ms bigint not null,
  ends_at_ms bigint not null,
  ended_at_ms bigint,
  primary key (realm, id),
  unique (realm, secret_hash),
  foreign key (realm, login_id) references logins (realm, id),
  foreign key (realm, person_id) references people (realm, id)
);
create index console_sessions_by_login on console_sessions (realm, login_id) where ended_at_ms is null;
create index console_sessions_by_end on console_sessions (realm, ends_at_ms);

-- One browser's session at one app: begins as a code that is good once, and then is a signed cookie of that app.
create table browser_sign_ins (
  realm text not null references realms,
  id uuid not null,
  login_id uuid not null,
  person_id uuid not null,
  resource text not null,
  -- The grant that let it in, and that grant's level. A proxy asks for it again at each session.
  grant_id uuid not null,
  level text not null,
  group_name text not null,
  -- The proxy that signed the visit.
  proxy_id uuid not null,
  -- SHA-256 of the code.
  code_hash bytea not null,
  -- SHA-256, hex, of what the browser keeps meanwhile.
  challenge text not null,
  made_at_ms bigint not null,
  code_ends_at_ms bigint not null,
  -- When the code was traded: before that it lets nobody in.
  used_at_ms bigint,
  -- The login's end.
  expires_at_ms bigint not null,
  ended_at_ms bigint,
  primary key (realm, id),
  unique (realm, code_hash),
  foreign key (realm, login_id) references logins (realm, id),
  foreign key (realm, person_id) references people (realm, id),
  foreign key (realm, grant_id) references grants (realm, id)
);
create index browser_sign_ins_by_login on browser_sign_ins (realm, login_id) where ended_at_ms is null;
create index browser_sign_ins_by_person on browser_sign_ins (realm, person_id, resource, made_at_ms);
create index browser_sign_ins_ended on browser_sign_ins (realm, ended_at_ms) where ended_at_ms is not null;
create index browser_sign_ins_by_end on browser_sign_ins (realm, expires_at_ms);

-- Of proxies: what browsers bring from one is signed with the key of its certificate. Null until it joins, renews or connects.
alter table certificates add column key_id text;
alter table certificates add column public_key_pem text;
create index certificates_by_key on certificates (realm, key_id) where key_id is not null;
