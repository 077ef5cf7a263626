-- What was made with a certificate that is lost ends with it.

-- The certificate that a key was registered with.
alter table ssh_keys add column certificate_serial text;
-- The X.509 certificate beside which one for SSH was issued.
alter table certificates add column issued_with text;
create index certificates_issued_with on certificates (realm, issued_with)
  where issued_with is not null;
