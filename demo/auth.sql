-- The demo's users. Their passwords are known to everybody: never load this into a shop that anyone relies on.
-- The hashes were made with `cargo run -p auth --example password_hash`; a test of auth's holds them against the
-- passwords.
insert into users (id, email, email_key, password_hash, full_name, role, created_at, updated_at)
values
    -- admin123
    (
        '019386a0-0000-7000-8000-000000000001', 'admin@example.com', 'admin@example.com',
        '$2b$12$EAnWXEx79x44fUV8nOdzP.ae9bsGhVfqSlG.WosV/uL/T7IcVatNC', 'Demo Admin', 'admin', now(), now()
    ),
    -- courier123
    (
        '019386a0-0000-7000-8000-000000000002', 'courier@example.com', 'courier@example.com',
        '$2b$12$fo3KJC016X6qHA7lOTyUyOwSnGPgbr52s/4RAsUf4nMF2XeHYpoBG', 'Demo Courier', 'courier', now(), now()
    ),
    -- user1234
    (
        '019386a0-0000-7000-8000-000000000003', 'user@example.com', 'user@example.com',
        '$2b$12$C3VKjj4135YB0opTBitg3eRzxwBLyFN0F/yhSsjpKeUcS657NFXKO', 'Demo User', 'user', now(), now()
    )
on conflict do nothing;
