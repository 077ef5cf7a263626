-- SSH: authorities, registered keys, sign-ins at a terminal, and from where servers see the proxies come.

alter table signing_keys drop constraint signing_keys_use_check;
alter table signing_keys add constraint signing_keys_use_check check (
  use in ('grants', 'leases', 'audit', 'people-authority', 'proxies-authority', 'control-authority',
    'ssh-people-authority', 'ssh-hosts-authority', 'ssh-upstream-authority')
);

-- Public keys that identify a person by themselves. A removed one stays on record.
create table ssh_keys (
  realm text not null references realms,
  id uuid not null,
  person_id uuid not null,
  name text not null,
  -- SHA256:..., as ssh-keygen prints it.
  fingerprint text not null,
  -- Type and base64, without a comment.
  public_key text not null,
  added_at_ms bigint not null,
  expires_at_ms bigint not null,
  removed_at_ms bigint,
  removed_by text,
  primary key (realm, id),
  foreign key (realm, person_id) references people (realm, id)
);
-- A key identifies one person.
create unique index ssh_keys_in_use on ssh_keys (realm, fingerprint) where removed_at_ms is null;
create index ssh_keys_by_person on ssh_keys (realm, person_id);
create index ssh_keys_by_age on ssh_keys (realm, added_at_ms, id);

-- A sign-in with an SSH client that waits: begun by a proxy, for which no certificate is made.
alter table login_attempts drop constraint login_attempts_kind_check;
alter table login_attempts add constraint login_attempts_kind_check
  check (kind in ('device', 'code', 'terminal'));
alter table login_attempts alter column request_pem drop not null;
-- The SSH key that gets a certificate too.
alter table login_attempts add column ssh_public_key text;
alter table login_attempts add column proxy_id uuid;
-- The client's, as the proxy saw it.
alter table login_attempts add column remote_address text;
-- What came of it, for a proxy that asks again.
alter table login_attempts add column login_id uuid;

-- Of a sign-in at a terminal: the proxy that holds the connection. It has no certificate to be revoked with.
alter table logins add column proxy_id uuid;
create index logins_at_terminals on logins (realm, ended_at_ms)
  where proxy_id is not null and ended_at_ms is not null;

alter table proxy_groups add column ssh_source_addresses text[] not null default '{}';
