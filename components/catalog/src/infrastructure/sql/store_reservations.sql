-- Stores what handled events come to: stock, reservations, outbox and inbox, or nothing of it.
--
-- `gate` locks the reservations that still have the version which was decided on. A new one (version 0) is inserted,
-- and one that somebody else inserted meanwhile fails the whole statement, as does an event that the inbox knows: it
-- is then decided again. Reservations are locked first, then flowers, then new reservations are inserted, each in the
-- order of their ids, so that two batches never wait for each other in a circle.
--
-- Whether there is enough for a new reservation is decided here and on nothing but `stock`: rows that are locked, as
-- they were last committed, whatever the snapshot shows. A lock that leaves the key alone suffices: it holds off every
-- write of the stock, but not the foreign key of a bouquet that takes the flower.
with recursive change as (
    select *
    from jsonb_to_recordset($1::jsonb) as change (order_id uuid, version bigint, position int, status text)
), gate as (
    select reservations.order_id, change.status, reservations.status as status_before
    from reservations
    join change on change.order_id = reservations.order_id and change.version = reservations.version
    order by reservations.order_id
    for update of reservations
), back as (
    -- What cancelled orders put back: once, for only what is reserved can be released.
    select item.flower_id, sum(item.quantity) as quantity
    from gate
    join reservation_items as item on item.order_id = gate.order_id
    where gate.status = 'released'
      and gate.status_before = 'reserved'
    group by item.flower_id
), line as (
    select *
    from jsonb_to_recordset($2::jsonb) as line (order_id uuid, flower_id uuid, bouquet_id uuid, quantity bigint)
), part as (
    -- Arrays keep this and `stock` index scans, however many lines the planner expects.
    select bouquet_id, flower_id, quantity
    from bouquet_items
    where bouquet_id = any (array(select bouquet_id from line))
), need as (
    -- What each new order takes of each flower. A bouquet without flowers is deleted: its own id stands for them, and
    -- of that there is no stock.
    select
        line.order_id,
        coalesce(line.flower_id, part.flower_id, line.bouquet_id) as flower_id,
        sum(line.quantity * coalesce(part.quantity, 1)) as quantity
    from line
    left join part on part.bouquet_id = line.bouquet_id
    group by 1, 2
), stock as (
    select id, stock_quantity, version, deleted
    from flowers
    where id = any (array(select flower_id from need union all select flower_id from back))
    order by id
    for no key update
), cart as (
    select
        need.order_id,
        jsonb_object_agg(need.flower_id, need.quantity) as needs,
        row_number() over (order by change.position) as place
    from need
    join change on change.order_id = need.order_id
    group by need.order_id, change.position
), served (place, order_id, is_reserved, available) as (
    -- Cart by cart: each finds what those before it left, and leaves all of that if it cannot have all that it needs.
    select
        0::bigint, null::uuid, null::boolean,
        (
            select coalesce(jsonb_object_agg(stock.id, stock.stock_quantity + coalesce(back.quantity, 0)), '{}')
            from stock
            left join back on back.flower_id = stock.id
            where not stock.deleted
        )
    union all
    select
        cart.place, cart.order_id, fit.is_enough,
        case when fit.is_enough then served.available || fit.rest else served.available end
    from served
    join cart on cart.place = served.place + 1
    cross join lateral (
        select
            bool_and(coalesce((served.available ->> key)::numeric >= value::numeric, false)) as is_enough,
            jsonb_object_agg(key, (served.available ->> key)::numeric - value::numeric) as rest
        from jsonb_each_text(cart.needs)
    ) as fit
), taken as (
    select need.order_id, need.flower_id, need.quantity
    from need
    join served on served.order_id = need.order_id
    where served.is_reserved
), moved as (
    select flower_id, sum(quantity) as quantity
    from (
        select flower_id, -quantity as quantity from taken
        union all
        select flower_id, quantity from back
    ) as movement
    group by flower_id
), flower as (
    -- Counted from the locked row, for the one in the snapshot may be older, and a check constraint would judge that
    -- before Postgres looks for the newest. What is put back has room: no bound but that of the type.
    update flowers
    set stock_quantity = least(stock.stock_quantity + moved.quantity, 2147483647),
        version = stock.version + 1,
        updated_at = greatest(flowers.updated_at, $5::timestamp at time zone 'utc')
    from stock
    join moved on moved.flower_id = stock.id
    where flowers.id = stock.id
      and moved.quantity <> 0
    returning flowers.id
), new as (
    insert into reservations (order_id, status, created_at, updated_at)
    select
        change.order_id,
        coalesce(change.status, case when served.is_reserved then 'reserved' else 'rejected' end),
        at.utc, at.utc
    from change
    left join served on served.order_id = change.order_id
    cross join (select $5::timestamp at time zone 'utc' as utc) as at
    where change.version = 0
    order by change.order_id
    returning order_id
), item as (
    insert into reservation_items (order_id, flower_id, quantity)
    select taken.order_id, taken.flower_id, taken.quantity
    from taken
    join new on new.order_id = taken.order_id
), raised as (
    update reservations
    set status = gate.status,
        version = reservations.version + 1,
        updated_at = $5::timestamp at time zone 'utc'
    from gate
    where reservations.order_id = gate.order_id
    returning reservations.order_id
), state as (
    select order_id
    from new
    union all
    select order_id
    from raised
), seen as (
    insert into inbox (event_id)
    select handled.event_id
    from jsonb_to_recordset($3::jsonb) as handled (order_id uuid, event_id uuid)
    join state on state.order_id = handled.order_id
), outbox as (
    -- Of the two that each new order could tell, the one that holds.
    insert into outbox_messages (
        event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
    )
    select
        message.event_id, message.event_type, message.routing_key, message.ordering_key, message.aggregate_id,
        message.payload, message.headers, now()
    from jsonb_to_recordset($4::jsonb) as message (
        is_reserved boolean, event_id uuid, event_type text, routing_key text, ordering_key text, aggregate_id uuid,
        payload jsonb, headers jsonb
    )
    join new on new.order_id = message.aggregate_id
    join served on served.order_id = message.aggregate_id and served.is_reserved = message.is_reserved
)
select order_id, null::uuid as flower_id
from state
union all
select null, id
from flower
