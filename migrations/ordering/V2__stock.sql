-- Whether the catalog keeps for an order what it needs. Those that were placed before the catalog was asked have
-- nothing to wait for.
alter table orders add column stock_reserved boolean not null default true;
alter table orders alter column stock_reserved set default false;

-- Facts of an order that are no change of its status.
create table order_notes (
    order_id uuid not null references orders (id),
    -- The order's version that brought it.
    version bigint not null,
    position int not null,
    note text not null,
    at timestamptz not null,
    cause text not null,
    event_id uuid,
    trace_id text not null,
    primary key (order_id, version, position)
);
