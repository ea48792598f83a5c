-- What the catalog keeps for orders: a reservation for each order that it heard of, and the inbox that every
-- participant of the saga has.

create table reservations (
    order_id uuid primary key,
    -- reserved: the stock was taken for the order. rejected: there was not enough. released: put back, for the order
    -- was cancelled. sold: the order was delivered. withdrawn: the order was cancelled before anything was taken, and
    -- nothing will be.
    status text not null,
    -- Raised by every handled event: the gate of the persisting statement compares it.
    version bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint reservations_status check (status in ('reserved', 'rejected', 'released', 'sold', 'withdrawn'))
);

-- How much was taken from the stock of each flower, those in bouquets included. It stays when it is put back.
create table reservation_items (
    order_id uuid not null references reservations (order_id),
    flower_id uuid not null references flowers (id),
    quantity int not null,
    primary key (order_id, flower_id),
    constraint reservation_items_quantity check (quantity > 0)
);

create table inbox (
    event_id uuid primary key,
    received_at timestamptz not null default now()
);

-- Pruning walks by age.
create index inbox_age on inbox (received_at);
