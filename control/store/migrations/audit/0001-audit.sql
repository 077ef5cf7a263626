-- The audit as control keeps it. What arrives is stored as skeletons (batches whose payloads are withheld) and as
-- payloads under one key per session; all else is derived from these and can be made again. Times are Unix
-- milliseconds (`_ms`) of control's clock, or microseconds (`_us`) of a proxy's. Every row carries its realm.

-- How long payloads of a class are kept after their session ended.
create table retention_classes (
  realm text not null,
  name text not null,
  days integer not null check (days > 0),
  primary key (realm, name)
);
insert into retention_classes (realm, name, days)
values ('default', 'standard', 365), ('default', 'quarantine', 365);

-- The key encryption key of each class, wrapped by the root key.
create table class_keys (
  realm text not null,
  retention_class text not null,
  wrapped bytea not null,
  created_at_ms bigint not null,
  primary key (realm, retention_class)
);

-- Data keys, wrapped by the key of their class. A destroyed one has no `wrapped` any more.
create table audit_session_keys (
  realm text not null,
  proxy_id uuid not null,
  session_id uuid not null,
  retention_class text not null,
  wrapped bytea,
  created_at_ms bigint not null,
  destroyed_at_ms bigint,
  legal_hold boolean not null default false,
  primary key (realm, proxy_id, session_id)
);
create index on audit_session_keys (realm, retention_class) where destroyed_at_ms is null;

-- Public keys that verify checkpoints and countersignatures, kept for as long as there is a chain.
create table audit_keys (
  realm text not null,
  chain text not null,
  use text not null check (use in ('checkpoint', 'countersignature')),
  kid text not null,
  public_key_pem text not null,
  first_seen_at_ms bigint not null,
  primary key (realm, chain, use, kid)
);

-- One chain per epoch of a proxy, with its head.
create table audit_chains (
  chain_id bigint generated always as identity primary key,
  realm text not null,
  proxy_id uuid not null,
  epoch uuid not null,
  last_batch bigint not null,
  last_sequence bigint not null,
  last_link bytea not null,
  -- Bytes of this epoch that went to quarantine end here; null while the chain never forked.
  forked_batch bigint,
  entries bigint not null,
  created_at_ms bigint not null,
  received_at_ms bigint not null,
  unique (realm, proxy_id, epoch)
);

-- One row per stored chunk of a chain.
create table audit_segments (
  realm text not null,
  chain_id bigint not null references audit_chains (chain_id),
  first_batch bigint not null,
  last_batch bigint not null,
  first_sequence bigint not null,
  last_sequence bigint not null,
  skeleton bytea not null,
  checkpoint text not null,
  countersignature text not null,
  verbatim_bytes bigint not null,
  received_at_ms bigint not null,
  indexed_at_ms bigint,
  primary key (chain_id, first_batch)
);
-- Ciphertext and digests do not compress; trying costs.
alter table audit_segments alter column skeleton set storage external;
create index audit_segments_unindexed on audit_segments (received_at_ms, chain_id, first_batch)
where indexed_at_ms is null;

-- Payloads of one session in one segment: (sequence u64 | length u32 | payload) repeated, encrypted.
create table audit_payloads (
  realm text not null,
  chain_id bigint not null,
  first_batch bigint not null,
  session_id uuid not null,
  ciphertext bytea not null,
  primary key (chain_id, first_batch, session_id)
);
alter table audit_payloads alter column ciphertext set storage external;
create index on audit_payloads (realm, session_id);

-- Texts too long for a record, in parts, encrypted under their session's key.
create table audit_blobs (
  blob_id bigint generated always as identity primary key,
  realm text not null,
  proxy_id uuid not null,
  session_id uuid not null,
  sha256 text not null,
  total_bytes bigint not null,
  received_bytes bigint not null,
  created_at_ms bigint not null,
  completed_at_ms bigint,
  unique (realm, proxy_id, session_id, sha256)
);
create table audit_blob_parts (
  realm text not null,
  blob_id bigint not null references audit_blobs (blob_id) on delete cascade,
  offset_bytes bigint not null,
  part_bytes bigint not null,
  ciphertext bytea not null,
  primary key (blob_id, offset_bytes)
);
alter table audit_blob_parts alter column ciphertext set storage external;

-- What does not fit anywhere, verbatim, each under a key of its own.
create table audit_quarantine (
  quarantine_id bigint generated always as identity primary key,
  realm text not null,
  proxy_id uuid not null,
  why text not null,
  sha256 text not null,
  verbatim_bytes bigint not null,
  batches integer not null,
  wrapped bytea,
  ciphertext bytea,
  received_at_ms bigint not null,
  destroyed_at_ms bigint,
  unique (realm, proxy_id, sha256)
);
alter table audit_quarantine alter column ciphertext set storage external;

-- Derived from the entries when they are stored, so that it is never behind.
create table sessions (
  realm text not null,
  session_id uuid not null,
  proxy_id uuid not null,
  chain_id bigint not null,
  person_id uuid not null,
  person_email text not null,
  grant_id uuid not null,
  grant_revision bigint not null,
  resource text not null,
  protocol text not null,
  level text not null,
  account text not null,
  upstream text not null,
  remote_address text not null,
  certificate_serial text not null,
  attributes jsonb not null,
  retention_class text not null,
  durability text not null,
  admitted_by text not null,
  expires_at_ms bigint not null,
  opened_at_ms bigint not null,
  -- When control received the newest entry: retention counts from here, not from a proxy's clock.
  received_at_ms bigint not null,
  closed_at_ms bigint,
  end_reason text,
  end_error text,
  cut_reason text,
  cut_ordered_at_ms bigint,
  cut_last_byte_at_ms bigint,
  cut_closed_at_ms bigint,
  statements bigint not null default 0,
  bytes_up bigint not null default 0,
  bytes_down bigint not null default 0,
  primary key (realm, session_id)
);
create index on sessions (realm, opened_at_ms, session_id);
create index on sessions (realm, person_email, opened_at_ms, session_id);
create index on sessions (realm, resource, opened_at_ms, session_id);
create index on sessions (realm, grant_id, opened_at_ms, session_id);
create index on sessions (realm, opened_at_ms, session_id) where closed_at_ms is null;

-- Sessions that a proxy says it lost in a crash; also of entries that have not arrived yet.
create table lost_sessions (
  realm text not null,
  proxy_id uuid not null,
  session_id uuid not null,
  lost_at_ms bigint not null,
  primary key (realm, proxy_id, session_id)
);

-- Holds stop retention for a session, or for all sessions of a person or resource.
create table legal_holds (
  hold_id uuid primary key,
  realm text not null,
  kind text not null check (kind in ('session', 'person', 'resource')),
  selector text not null,
  reason text not null,
  made_by text not null,
  made_at_ms bigint not null,
  released_by text,
  released_at_ms bigint
);
create index on legal_holds (realm, kind, selector) where released_at_ms is null;

-- How far the index of each chain is, and which replica is at it.
create table index_progress (
  chain_id bigint primary key references audit_chains (chain_id),
  realm text not null,
  indexed_sequence bigint not null,
  entries_indexed bigint not null,
  claimed_by text,
  claimed_until_ms bigint not null default 0
);

-- The search index: a derived copy in a partition per day, deleted with its session's key.
create table audit_activities (
  realm text not null,
  at_us bigint not null,
  chain_id bigint not null,
  sequence bigint not null,
  session_id uuid not null,
  person_email text not null,
  resource text not null,
  kind smallint not null,
  text text not null,
  text_blob text,
  text_blob_bytes bigint,
  prepared_name text not null,
  parameters jsonb not null,
  parameters_blob text,
  parameters_blob_bytes bigint,
  redacted boolean not null,
  outcome_status smallint,
  outcome_rows bigint,
  outcome_bytes_up bigint,
  outcome_bytes_down bigint,
  outcome_duration_us bigint,
  outcome_tag text,
  outcome_error_code text,
  outcome_error_text text,
  primary key (realm, at_us, chain_id, sequence)
) partition by range (at_us);
create index on audit_activities (realm, session_id, at_us, chain_id, sequence);
create index on audit_activities (realm, person_email, at_us, chain_id, sequence);
create index on audit_activities (realm, resource, at_us, chain_id, sequence);
-- For clocks that are years off; days get their partitions on demand.
create table audit_activities_default partition of audit_activities default;

-- Indexed activities whose outcome has not been indexed; it knows them by sequence only.
create table pending_outcomes (
  realm text not null,
  chain_id bigint not null,
  sequence bigint not null,
  at_us bigint not null,
  session_id uuid not null,
  primary key (chain_id, sequence)
);
