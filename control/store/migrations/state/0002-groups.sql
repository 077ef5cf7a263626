-- Groups of a person: said by the identity provider at each sign-in, or by an admin for a person without one.
alter table people add column groups text[] not null default '{}';
