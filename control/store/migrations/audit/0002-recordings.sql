-- Recordings of sessions. What was shown and typed stays where it arrived, in the payloads of stored segments; here is what there
-- is, and where. Derived from the entries, and can be made again.

-- The second key of a session: for what was typed where nothing was echoed. Destroyed with the first.
create table audit_hidden_keys (
  realm text not null,
  proxy_id uuid not null,
  session_id uuid not null,
  retention_class text not null,
  wrapped bytea,
  created_at_ms bigint not null,
  destroyed_at_ms bigint,
  primary key (realm, proxy_id, session_id)
);

-- As audit_payloads, under the second key.
create table audit_hidden_payloads (
  realm text not null,
  chain_id bigint not null,
  first_batch bigint not null,
  session_id uuid not null,
  ciphertext bytea not null,
  primary key (chain_id, first_batch, session_id)
);
alter table audit_hidden_payloads alter column ciphertext set storage external;
create index on audit_hidden_payloads (realm, session_id);

create table recordings (
  realm text not null,
  session_id uuid not null,
  number bigint not null,
  chain_id bigint not null,
  kind text not null check (kind in ('terminal', 'stream')),
  -- Sequence of the activity that it is a recording of; 0: none.
  activity bigint not null,
  -- Null once its retention is over.
  title text,
  columns integer,
  rows integer,
  term text,
  began_at_us bigint not null,
  -- What is indexed of it, and the digest over that.
  parts bigint not null,
  frames bigint not null,
  bytes bigint not null,
  lasted_us bigint not null,
  digest bytea not null,
  -- What the proxy said at its end; null while it goes on, or if the proxy was lost.
  ended_at_us bigint,
  lost_bytes bigint,
  -- Whether that fits what is here.
  sealed boolean,
  streams jsonb,
  -- For the text index: the last line as it came, without its end, and how much text was indexed.
  tail bytea not null,
  text_characters bigint not null,
  primary key (realm, session_id, number)
);

create table recording_parts (
  realm text not null,
  session_id uuid not null,
  number bigint not null,
  part bigint not null,
  chain_id bigint not null,
  first_batch bigint not null,
  sequence bigint not null,
  hidden boolean not null,
  first_us bigint not null,
  last_us bigint not null,
  bytes bigint not null,
  primary key (realm, session_id, number, part)
);

-- Text that a terminal showed is found beside statements; it says in which recording it is, and where.
alter table audit_activities
  add column recording bigint,
  add column recording_at_us bigint;
