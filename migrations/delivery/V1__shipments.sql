-- What delivery keeps: the paid orders that it has heard of, their shipments, and the inbox and outbox that every
-- participant of the saga has.

-- An order from first contact, which is when it was paid.
create table orders (
    id uuid primary key,
    user_id uuid not null,
    delivery_address text not null,
    -- Raised by every handled event: the gate of each persisting statement compares it.
    version bigint not null default 1,
    created_at timestamptz not null
);

create table shipments (
    id uuid primary key,
    order_id uuid not null references orders (id),
    status text not null,
    tracking_number text not null,
    failure_reason text,
    -- Raised by every change: the gate of each persisting statement compares it.
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- An order is shipped once.
    constraint shipments_order unique (order_id),
    constraint shipments_tracking_number unique (tracking_number),
    constraint shipments_status check (status in ('shipped', 'delivered', 'failed', 'cancelled')),
    constraint shipments_failure check ((status = 'failed') = (failure_reason is not null))
);

-- A courier's list is of one status, oldest first: UUIDv7 ids grow with time.
create index shipments_of_status on shipments (status, id);

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
