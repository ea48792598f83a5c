-- What auth keeps: the shop's users, and what their passwords are checked against.

create table users (
    id uuid primary key,
    -- As its owner wrote it, and what all spellings of it share (auth's domain says which those are).
    email text not null,
    email_key text not null,
    -- bcrypt over a digest of the password.
    password_hash text not null,
    full_name text,
    role text not null,
    is_active boolean not null default true,
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint users_email_key unique (email_key),
    constraint users_role check (role in ('user', 'courier', 'admin'))
);
