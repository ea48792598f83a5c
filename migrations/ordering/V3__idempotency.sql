-- Answers by idempotency key, for 24 hours.
create table idempotency_keys (
    user_id uuid not null,
    -- Method and path.
    scope text not null,
    key text not null,
    body_sha256 bytea not null,
    -- Null while the work has begun and has no answer yet.
    answer jsonb,
    created_at timestamptz not null default now(),
    primary key (user_id, scope, key)
);

-- Pruning walks by age.
create index idempotency_keys_age on idempotency_keys (created_at);
