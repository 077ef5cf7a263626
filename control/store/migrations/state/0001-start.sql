-- Control's state. Times are Unix milliseconds of control's clock; every row carries its realm.

create table realms (
  realm text primary key,
  -- A demo's data never meets a server that was started for real, and the other way round.
  demo boolean not null,
  -- Epoch of control's own audit chain.
  chain_epoch uuid not null,
  created_at_ms bigint not null
);

create table people (
  realm text not null references realms,
  id uuid not null,
  -- A person is an issuer and a subject; `local` with their own id until an identity provider names them.
  issuer text not null,
  subject text not null,
  email text not null,
  name text not null,
  roles text[] not null,
  state text not null check (state in ('active', 'revoked')),
  created_at_ms bigint not null,
  revoked_at_ms bigint,
  -- Certificates that were issued earlier do not count.
  certificates_valid_from_ms bigint not null,
  primary key (realm, id),
  unique (realm, email),
  unique (realm, issuer, subject)
);
create index people_by_age on people (realm, created_at_ms, id);

create table certificates (
  realm text not null references realms,
  -- Hex, lower case, no leading zeros.
  serial text not null,
  kind text not null check (kind in ('person', 'proxy')),
  -- The person or the proxy.
  holder_id uuid not null,
  issued_at_ms bigint not null,
  expires_at_ms bigint not null,
  revoked_at_ms bigint,
  revoked_by text,
  revoke_reason text,
  primary key (realm, serial)
);
create index certificates_by_holder on certificates (realm, holder_id);
create index certificates_revoked on certificates (realm, expires_at_ms) where revoked_at_ms is not null;

create table proxy_groups (
  realm text not null references realms,
  name text not null,
  domain text not null,
  created_at_ms bigint not null,
  primary key (realm, name)
);

create table proxies (
  realm text not null references realms,
  id uuid not null,
  group_name text not null,
  name text not null,
  joined_at_ms bigint not null,
  revoked_at_ms bigint,
  last_heard_at_ms bigint,
  primary key (realm, id),
  foreign key (realm, group_name) references proxy_groups (realm, name)
);

create table join_tokens (
  realm text not null references realms,
  -- SHA-256 of the secret; the secret itself was shown once and is nowhere.
  token_hash bytea not null,
  group_name text not null,
  made_by text not null,
  made_at_ms bigint not null,
  expires_at_ms bigint not null,
  used_at_ms bigint,
  used_by uuid,
  primary key (realm, token_hash),
  foreign key (realm, group_name) references proxy_groups (realm, name)
);

create table resources (
  realm text not null references realms,
  name text not null,
  group_name text not null,
  definition jsonb not null,
  -- The version of all resources at which this one was last changed.
  version bigint not null,
  updated_at_ms bigint not null,
  primary key (realm, name),
  foreign key (realm, group_name) references proxy_groups (realm, name)
);

create table resources_versions (
  realm text primary key references realms,
  version bigint not null
);

create table grants (
  realm text not null references realms,
  id uuid not null,
  -- Grows by one with each change.
  revision bigint not null,
  person_id uuid not null,
  person_email text not null,
  resource text not null,
  level text not null,
  group_name text not null,
  reason text not null,
  made_by text not null,
  made_at_ms bigint not null,
  expires_at_ms bigint not null,
  revoked_at_ms bigint,
  revoked_by text,
  revoke_reason text,
  -- The grant as of this revision, signed. Only a resync and a confirmation read it again.
  token text not null,
  primary key (realm, id),
  foreign key (realm, person_id) references people (realm, id)
);
create index grants_by_age on grants (realm, made_at_ms, id);
create index grants_by_person on grants (realm, person_id, resource, made_at_ms);
create index grants_by_resource on grants (realm, resource, made_at_ms);
create index grants_by_end on grants (realm, expires_at_ms);

-- Public halves, and the private ones sealed under the key in SALLYPORT_SEALING_KEY_FILE.
create table signing_keys (
  realm text not null references realms,
  kid text not null,
  use text not null check (
    use in ('grants', 'leases', 'audit', 'people-authority', 'proxies-authority', 'control-authority')
  ),
  algorithm text not null check (algorithm in ('EdDSA', 'ES256')),
  public_key_pem text not null,
  sealed_private_key bytea not null,
  -- Of authorities.
  certificate_pem text,
  created_at_ms bigint not null,
  -- Set when it signs no more; it still verifies.
  retired_at_ms bigint,
  primary key (realm, kid)
);
create unique index signing_keys_in_use on signing_keys (realm, use) where retired_at_ms is null;

-- Symmetric keys under the same seal.
create table data_keys (
  realm text not null references realms,
  purpose text not null,
  sealed_key bytea not null,
  created_at_ms bigint not null,
  primary key (realm, purpose)
);

create table feed_heads (
  realm text primary key references realms,
  position bigint not null,
  -- Everything up to here may have been deleted: a cursor below it needs the whole state.
  floor bigint not null
);

create table feed (
  realm text not null references realms,
  position bigint not null,
  -- Null: for every group.
  group_name text,
  kind text not null,
  payload jsonb not null,
  created_at_ms bigint not null,
  primary key (realm, position)
);
create index feed_by_age on feed (realm, created_at_ms);

-- Control's own audit chain: one batch per row, as it is verified, less the payload.
create table control_chain (
  realm text not null references realms,
  batch bigint not null,
  sequence bigint not null,
  link bytea not null,
  -- The batch with its payload withheld (control/api/audit/format.ts).
  skeleton bytea not null,
  -- The payload, salt included, under the realm's key; null once deleted by law.
  sealed_payload bytea,
  checkpoint text not null,
  countersignature text not null,
  at_ms bigint not null,
  primary key (realm, batch)
);
