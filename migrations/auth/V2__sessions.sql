-- Sessions that can be refreshed, and how often somebody guessed at an account.

-- The sessions of a user that began in an earlier epoch have ended. Raised when the user is deactivated: one number
-- instead of all their sessions, so that none slips through that begins at the same moment.
alter table users add column session_epoch integer not null default 0;

-- Who may not lose the last of them looks here.
create index users_active_admins on users (id) where role = 'admin' and is_active;

-- A sign-in, for as long as it can be refreshed.
create table sessions (
    id uuid primary key,
    user_id uuid not null references users (id),
    user_epoch integer not null,
    -- SHA-256 of the account and the address that it was begun from; null if nobody told the address.
    client_hash bytea,
    -- Of its newest refresh token, counted from 0.
    generation bigint not null default 0,
    -- The token that was exchanged for that one, and when.
    exchanged_hash bytea,
    exchanged_at timestamptz,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint sessions_exchange check ((exchanged_hash is null) = (exchanged_at is null))
);

-- Whether an account is known at an address.
create index sessions_user on sessions (user_id, client_hash);

-- Pruning walks by age.
create index sessions_expiry on sessions (expires_at);

-- Every refresh token that a session gave out, so that one that comes again is recognised. Never changed.
create table refresh_tokens (
    -- SHA-256.
    token_hash bytea primary key,
    session_id uuid not null references sessions (id),
    generation bigint not null,
    -- The session's.
    expires_at timestamptz not null
);

create index refresh_tokens_session on refresh_tokens (session_id);

-- Pruning walks by age.
create index refresh_tokens_expiry on refresh_tokens (expires_at);

-- Attempts to sign in, by what is guessed at or who guesses: those that failed, and those whose end is not known yet.
-- One that succeeds is taken out again. Which is which only a hash says, for nobody needs to read addresses here.
create table login_guesses (
    key bytea primary key,
    -- So many may fail within so long. Afterwards one is let through whenever so long has passed since the last.
    allowed integer not null,
    within interval not null,
    hold interval not null,
    failed timestamptz[] not null,
    pending timestamptz[] not null,
    -- When none of it counts any more.
    expires_at timestamptz not null
);

-- Pruning walks by age.
create index login_guesses_expiry on login_guesses (expires_at);
