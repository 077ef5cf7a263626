-- What a proxy said when it last connected that its operator should mend.
alter table proxies add column warnings text[] not null default '{}';
