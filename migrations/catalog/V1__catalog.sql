-- What the catalog keeps: flowers with their stock, bouquets of flowers, categories of bouquets, and the outbox that
-- tells of their names and prices.
--
-- Deleted flowers and bouquets stay as rows: orders were placed for them, and a seed must not bring them back. That a
-- bouquet holds only flowers that live is a foreign key all the same: it points to the flower's id *and* to
-- `deleted = false`, so that deleting a flower fails while a bouquet holds it and a bouquet cannot take a deleted one,
-- whoever of two racing transactions comes first.

create table categories (
    id uuid primary key,
    name text not null,
    description text,
    -- Raised by every change: the entity tag, and what the gate of each persisting statement compares.
    version bigint not null default 1,
    created_at timestamptz not null,
    constraint categories_name unique (name)
);

create table flowers (
    id uuid primary key,
    name text not null,
    -- What a search compares. Up and down again also joins letters with two small forms (Greek σ and ς).
    name_folded text not null generated always as (lower(upper(name))) stored,
    description text,
    price_minor bigint not null,
    currency text not null,
    -- What can still be sold.
    stock_quantity int not null,
    flower_type text not null,
    image_url text,
    -- Raised by every change: the entity tag, the version in FlowerChanged, and what each gate compares.
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    deleted boolean not null generated always as (deleted_at is not null) stored,
    constraint flowers_price check (price_minor between 1 and 999999999),
    constraint flowers_stock check (stock_quantity >= 0),
    constraint flowers_type check (
        flower_type in ('rose', 'tulip', 'lily', 'orchid', 'carnation', 'peony', 'other')
    ),
    constraint flowers_id_deleted unique (id, deleted)
);

-- A list is newest first (UUIDv7 ids grow with time), and its total is counted from the index alone.
create index flowers_newest on flowers (id desc) where deleted_at is null;
create index flowers_of_type on flowers (flower_type, id desc) where deleted_at is null;

create table bouquets (
    id uuid primary key,
    name text not null,
    description text,
    price_minor bigint not null,
    currency text not null,
    -- Null for a deleted bouquet alone, which must not hold its category.
    category_id uuid,
    image_url text,
    -- Raised by every change: the entity tag, the version in BouquetChanged, and what each gate compares.
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    constraint bouquets_price check (price_minor between 1 and 999999999),
    constraint bouquets_category foreign key (category_id) references categories (id),
    constraint bouquets_category_or_deleted check ((category_id is null) = (deleted_at is not null))
);

create index bouquets_newest on bouquets (id desc) where deleted_at is null;
create index bouquets_of_category on bouquets (category_id, id desc);

-- A deleted bouquet has none.
create table bouquet_items (
    bouquet_id uuid not null references bouquets (id),
    flower_id uuid not null,
    flower_deleted boolean not null generated always as (false) stored,
    position int not null,
    quantity int not null,
    primary key (bouquet_id, flower_id),
    constraint bouquet_items_quantity check (quantity between 1 and 1000),
    constraint bouquet_items_flower foreign key (flower_id, flower_deleted) references flowers (id, deleted)
);

create index bouquet_items_of_flower on bouquet_items (flower_id);

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
