-- HTTP: API tokens that reach apps, and the keys with which proxies tell apps who asks.

alter table tokens drop constraint tokens_scope_check;
alter table tokens add constraint tokens_scope_check check (scope in ('read', 'request', 'apps'));

-- Public keys of proxies (P-256), published for apps. A proxy adds its own again before it ends.
create table assertion_keys (
  realm text not null references realms,
  proxy_id uuid not null,
  -- RFC 7638.
  kid text not null,
  x text not null,
  y text not null,
  added_at_ms bigint not null,
  expires_at_ms bigint not null,
  primary key (realm, proxy_id, kid),
  foreign key (realm, proxy_id) references proxies (realm, id)
);
create index assertion_keys_by_end on assertion_keys (realm, expires_at_ms);
