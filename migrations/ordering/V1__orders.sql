-- What ordering keeps: orders with their lines and history, the catalog's prices as its events told them, and the
-- inbox and outbox that every participant of the saga has.

create table orders (
    id uuid primary key,
    user_id uuid not null,
    status text not null,
    status_reason text,
    total_minor bigint not null,
    currency text not null,
    delivery_address text not null,
    payment_method text not null,
    -- When payment must be done; null while orders have no deadline.
    payment_due_at timestamptz,
    -- The attempt that payment last told of: what an older attempt says comes too late.
    payment_attempt int not null default 0,
    -- Raised by every handled event: the gate of each persisting statement compares it.
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint orders_status check (
        status in ('created', 'payment_completed', 'payment_failed', 'shipping', 'completed', 'cancelled')
    ),
    constraint orders_total check (total_minor >= 0)
);

-- A list is a user's or everyone's, newest first: UUIDv7 ids grow with time.
create index orders_of_user on orders (user_id, id desc);

create table order_items (
    id uuid primary key,
    order_id uuid not null references orders (id),
    position int not null,
    flower_id uuid,
    bouquet_id uuid,
    quantity int not null,
    price_minor bigint not null,
    constraint order_items_one_thing check (num_nonnulls(flower_id, bouquet_id) = 1),
    constraint order_items_quantity check (quantity between 1 and 1000),
    constraint order_items_price check (price_minor >= 0),
    constraint order_items_position unique (order_id, position)
);

create table order_history (
    order_id uuid not null references orders (id),
    -- The order's version that brought this status.
    version bigint not null,
    -- Two changes may come with one version, when one event implies another.
    position int not null,
    status text not null,
    at timestamptz not null,
    cause text not null,
    event_id uuid,
    trace_id text not null,
    primary key (order_id, version, position)
);

create table catalog_items (
    id uuid primary key,
    kind text not null,
    name text not null,
    price_minor bigint not null,
    currency text not null,
    -- The catalog's own version of it: an older event never undoes a newer one. Deletions stay as tombstones.
    version bigint not null,
    deleted boolean not null,
    constraint catalog_items_kind check (kind in ('flower', 'bouquet'))
);

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
