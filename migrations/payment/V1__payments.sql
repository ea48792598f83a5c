-- What payment keeps: the orders that it has heard of, every attempt to collect what they cost, and the inbox and
-- outbox that every participant of the saga has.

-- An order from first contact. It is the aggregate: its version guards its payments as well.
create table orders (
    id uuid primary key,
    user_id uuid not null,
    amount_minor bigint not null,
    currency text not null,
    -- The order's own method; an attempt may use another.
    payment_method text not null,
    -- Raised by every handled event: the gate of each persisting statement compares it.
    version bigint not null default 1,
    created_at timestamptz not null,
    constraint orders_amount check (amount_minor >= 0)
);

-- One row per attempt.
create table payments (
    id uuid primary key,
    order_id uuid not null references orders (id),
    -- From 1. With the id it is the key under which the provider knows the charge.
    attempt int not null,
    user_id uuid not null,
    amount_minor bigint not null,
    currency text not null,
    status text not null,
    payment_method text not null,
    transaction_id text,
    failure_reason text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint payments_attempt unique (order_id, attempt),
    constraint payments_attempt_number check (attempt >= 1),
    constraint payments_amount check (amount_minor >= 0),
    constraint payments_status check (status in ('pending', 'processing', 'completed', 'failed', 'refunded')),
    -- Who took money can name the transaction, who did not can name the reason.
    constraint payments_transaction check ((status in ('completed', 'refunded')) = (transaction_id is not null)),
    constraint payments_failure check ((status = 'failed') = (failure_reason is not null))
);

-- An order is never charged twice: one attempt at most is under way or took the money.
create unique index payments_one_standing on payments (order_id)
where status in ('pending', 'processing', 'completed');

create table inbox (
    event_id uuid primary key,
    received_at timestamptz not null default now()
);

-- Pruning walks by age.
create index inbox_age on inbox (received_at);

create table outbox_messages (
    id bigint generated always as identity primary key,
    event_id uuid not null unique,
    event_type text not null,
    routing_key text not null,
    -- The aggregate's id, or a timer's own key: rows of one key are first published in the order of their ids.
    ordering_key text not null,
    aggregate_id uuid not null,
    -- The whole CloudEvent: the message's body, published as it is.
    payload jsonb not null,
    headers jsonb not null default '{}',
    occurred_at timestamptz not null,
    -- A row due in the future is a timer.
    due_at timestamptz not null default now(),
    processed_at timestamptz,
    parked_at timestamptz,
    attempts int not null default 0,
    last_error text
);

-- The relay's poll: what is due and neither published nor parked.
create index outbox_messages_due on outbox_messages (due_at, id) where processed_at is null and parked_at is null;

-- And whether an earlier row of the same key still waits.
create index outbox_messages_key on outbox_messages (ordering_key, id)
where processed_at is null and parked_at is null;

-- Pruning walks by age.
create index outbox_messages_processed on outbox_messages (processed_at) where processed_at is not null;
