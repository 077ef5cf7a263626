-- Access flows, every version of them with its author, and the requests that they decide.

-- The version in force; 0: none was ever applied. Held shared by who asks, exclusively by who applies.
alter table realms add column flows_version bigint not null default 0;

create table flows_versions (
  realm text not null references realms,
  version bigint not null,
  -- All flows, in the order of the file.
  flows jsonb not null,
  author_id uuid not null,
  author text not null,
  remote_address text not null,
  applied_at_ms bigint not null,
  primary key (realm, version)
);

create table requests (
  realm text not null references realms,
  id uuid not null,
  kind text not null check (kind in ('access', 'extension')),
  person_id uuid not null,
  person_email text not null,
  resource text not null,
  level text not null,
  for_ms bigint not null,
  reason text not null,
  -- 'pending' past its answer_by_ms is expired, whether that is recorded already or not.
  state text not null check (state in ('pending', 'approved', 'denied', 'withdrawn', 'expired')),
  -- The flow as it was when it was asked, and the version of the flows it is from.
  flow jsonb not null,
  flows_version bigint not null,
  -- Who may decide, out of the flow: for the search of what waits for somebody.
  approver_people text[] not null,
  approver_groups text[] not null,
  -- In the order they were made.
  decisions jsonb not null,
  made_at_ms bigint not null,
  answer_by_ms bigint not null,
  decided_at_ms bigint,
  -- The grant that was made, or that is to be extended.
  grant_id uuid,
  primary key (realm, id),
  foreign key (realm, person_id) references people (realm, id),
  foreign key (realm, flows_version) references flows_versions (realm, version)
);
create index requests_by_age on requests (realm, made_at_ms, id);
create index requests_by_person on requests (realm, person_id, made_at_ms, id);
create index requests_that_wait on requests (realm, answer_by_ms) where state = 'pending';

-- The request that a grant was made for: at most one grant each, whatever happens.
alter table grants add column request_id uuid;
create unique index grants_by_request on grants (realm, request_id) where request_id is not null;
