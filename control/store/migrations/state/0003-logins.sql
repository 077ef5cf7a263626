-- Signing in with the organisation's identity provider.

-- A sign-in that has begun: any replica can answer for it. Rows live for minutes.
create table login_attempts (
  realm text not null references realms,
  id uuid not null,
  kind text not null check (kind in ('device', 'code')),
  -- SHA-256; the secret itself was shown once, to who began it.
  secret_hash bytea not null,
  -- PKCS #10, PEM: the key that gets the certificate is settled before anybody signs in.
  request_pem text not null,
  remote_network text not null,
  -- What the provider gave us, or must give back, under a key that the database does not hold; null until the provider answered.
  sealed bytea,
  interval_ms bigint not null,
  polled_at_ms bigint,
  begun_at_ms bigint not null,
  ends_at_ms bigint not null,
  used_at_ms bigint,
  primary key (realm, id)
);
create index login_attempts_by_end on login_attempts (realm, ends_at_ms);

create table logins (
  realm text not null references realms,
  id uuid not null,
  person_id uuid not null,
  issuer text not null,
  -- Said by the provider: when the person proved who they are, how strongly (acr), and with what (amr).
  auth_time_ms bigint,
  acr text,
  amr text[] not null,
  begun_at_ms bigint not null,
  ends_at_ms bigint not null,
  ended_at_ms bigint,
  end_reason text,
  sealed_refresh_token bytea,
  -- Only one refresh at a time: providers take a refresh token once.
  refreshing_until_ms bigint not null default 0,
  primary key (realm, id),
  foreign key (realm, person_id) references people (realm, id)
);
create index logins_by_person on logins (realm, person_id) where ended_at_ms is null;

-- The sign-in that a certificate of a person belongs to; null where an admin issued it.
alter table certificates add column login_id uuid;
create index certificates_by_login on certificates (realm, login_id) where login_id is not null;
