-- An order has a deadline, and a request may be sent again under its key.

alter table orders
    -- No charge starts after it. Null of a tombstone, and of an order that was placed before there were deadlines.
    add column payment_due_at timestamptz;

-- Answers by idempotency key, for 24 hours.
create table idempotency_keys (
    user_id uuid not null,
    -- Method and path.
    scope text not null,
    key text not null,
    body_sha256 bytea not null,
    -- Null while the work has begun and has no answer yet.
    answer jsonb,
    -- The payment whose attempt was stored by the same statement; null where the answer came at once.
    payment_id uuid references payments (id),
    created_at timestamptz not null default now(),
    primary key (user_id, scope, key),
    constraint idempotency_keys_begun check (answer is not null or payment_id is not null)
);

-- Pruning walks by age.
create index idempotency_keys_age on idempotency_keys (created_at);
