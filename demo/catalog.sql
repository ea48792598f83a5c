-- What the demo sells. To be run again without harm: only rows that are inserted are told, so a second run tells
-- nothing. A flower or bouquet that an admin deleted keeps its row and does not come back.
--
-- The events are those that the catalog itself would raise, so that ordering learns the prices.

insert into categories (id, name, description, created_at)
values
    ('01900000-0000-7000-8000-00000000c001', 'Romance', 'For those who have no words.', now()),
    ('01900000-0000-7000-8000-00000000c002', 'Birthdays', 'Bright, and never late.', now()),
    ('01900000-0000-7000-8000-00000000c003', 'Weddings', 'White, cream and a little green.', now())
on conflict do nothing;

with demo (id, name, description, price_minor, stock_quantity, flower_type) as (
    values
        ('01900000-0000-7000-8000-00000000f001'::uuid, 'Red Rose', 'The classic, 60 cm.', 15000, 500, 'rose'),
        ('01900000-0000-7000-8000-00000000f002', 'White Rose', 'Cream at the heart, 60 cm.', 14000, 400, 'rose'),
        ('01900000-0000-7000-8000-00000000f003', 'Pink Rose', 'Large heads, 50 cm.', 14500, 300, 'rose'),
        ('01900000-0000-7000-8000-00000000f004', 'Pink Tulip', 'From the first days of spring.', 12000, 600, 'tulip'),
        ('01900000-0000-7000-8000-00000000f005', 'Yellow Tulip', 'As bright as it gets.', 11500, 600, 'tulip'),
        ('01900000-0000-7000-8000-00000000f006', 'White Lily', 'Two or three buds on a stem.', 13000, 250, 'lily'),
        ('01900000-0000-7000-8000-00000000f007', 'Pink Lily', 'Strongly scented.', 13500, 200, 'lily'),
        ('01900000-0000-7000-8000-00000000f008', 'Purple Orchid', 'Lasts for weeks.', 20000, 150, 'orchid'),
        ('01900000-0000-7000-8000-00000000f009', 'White Orchid', 'Lasts for weeks.', 21000, 150, 'orchid'),
        ('01900000-0000-7000-8000-00000000f010', 'Red Carnation', 'Fringed, and very patient.', 7000, 800, 'carnation'),
        ('01900000-0000-7000-8000-00000000f011', 'Pink Peony', 'Opens in a day.', 25000, 120, 'peony'),
        ('01900000-0000-7000-8000-00000000f012', 'Sunflower', 'One is enough for a window.', 11000, 300, 'other'),
        ('01900000-0000-7000-8000-00000000f013', 'White Chrysanthemum', 'A whole branch.', 9000, 350, 'other')
), gate as (
    insert into flowers (
        id, name, description, price_minor, currency, stock_quantity, flower_type, created_at, updated_at
    )
    select id, name, description, price_minor, 'RUB', stock_quantity, flower_type, now(), now()
    from demo
    order by id
    on conflict do nothing
    returning id, name, price_minor, currency, version, created_at
), message as materialized (
    select
        gate.*,
        gen_random_uuid() as event_id,
        format(
            '00-%s-%s-00', replace(gen_random_uuid()::text, '-', ''),
            right(replace(gen_random_uuid()::text, '-', ''), 16)
        ) as traceparent
    from gate
)
insert into outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    event_id, 'FlowerChanged', 'flower.changed', id::text, id,
    jsonb_build_object(
        'specversion', '1.0',
        'id', event_id,
        'source', 'catalog',
        'type', 'FlowerChanged',
        'subject', id,
        'time', to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'traceparent', traceparent,
        'datacontenttype', 'application/json',
        'data', jsonb_build_object(
            'flower_id', id,
            'version', version,
            'name', name,
            'price', jsonb_build_object(
                'amount', to_char(price_minor / 100.0, 'FM9999990.00'), 'currency', currency
            ),
            'deleted', false,
            'schema_version', 1
        )
    ),
    jsonb_build_object('traceparent', traceparent), created_at
from message
order by message.id;

with demo (id, name, description, price_minor, category_id) as (
    values
        (
            '01900000-0000-7000-8000-00000000b001'::uuid, 'Romantic Bouquet', 'Red roses, and a lily between them.',
            50000, '01900000-0000-7000-8000-00000000c001'::uuid
        ),
        (
            '01900000-0000-7000-8000-00000000b002', 'Birthday Bouquet', 'Tulips of two colours.', 45000,
            '01900000-0000-7000-8000-00000000c002'
        ),
        (
            '01900000-0000-7000-8000-00000000b003', 'Wedding Bouquet', 'White roses and white orchids.', 90000,
            '01900000-0000-7000-8000-00000000c003'
        ),
        (
            '01900000-0000-7000-8000-00000000b004', 'Summer Bouquet', 'Sunflowers and carnations.', 38000,
            '01900000-0000-7000-8000-00000000c002'
        )
), demo_item (bouquet_id, position, flower_id, quantity) as (
    values
        ('01900000-0000-7000-8000-00000000b001'::uuid, 0, '01900000-0000-7000-8000-00000000f001'::uuid, 3),
        ('01900000-0000-7000-8000-00000000b001', 1, '01900000-0000-7000-8000-00000000f006', 1),
        ('01900000-0000-7000-8000-00000000b002', 0, '01900000-0000-7000-8000-00000000f004', 2),
        ('01900000-0000-7000-8000-00000000b002', 1, '01900000-0000-7000-8000-00000000f005', 2),
        ('01900000-0000-7000-8000-00000000b003', 0, '01900000-0000-7000-8000-00000000f002', 5),
        ('01900000-0000-7000-8000-00000000b003', 1, '01900000-0000-7000-8000-00000000f009', 2),
        ('01900000-0000-7000-8000-00000000b004', 0, '01900000-0000-7000-8000-00000000f012', 3),
        ('01900000-0000-7000-8000-00000000b004', 1, '01900000-0000-7000-8000-00000000f010', 4)
), gate as (
    insert into bouquets (id, name, description, price_minor, currency, category_id, created_at, updated_at)
    select demo.id, demo.name, demo.description, demo.price_minor, 'RUB', demo.category_id, now(), now()
    from demo
    -- A category of the demo whose name an admin had taken is not there.
    join categories on categories.id = demo.category_id
    order by demo.id
    on conflict do nothing
    returning id, name, price_minor, currency, version, created_at
), items as (
    insert into bouquet_items (bouquet_id, flower_id, position, quantity)
    select gate.id, demo_item.flower_id, demo_item.position, demo_item.quantity
    from gate
    join demo_item on demo_item.bouquet_id = gate.id
), message as materialized (
    select
        gate.*,
        gen_random_uuid() as event_id,
        format(
            '00-%s-%s-00', replace(gen_random_uuid()::text, '-', ''),
            right(replace(gen_random_uuid()::text, '-', ''), 16)
        ) as traceparent
    from gate
)
insert into outbox_messages (
    event_id, event_type, routing_key, ordering_key, aggregate_id, payload, headers, occurred_at
)
select
    event_id, 'BouquetChanged', 'bouquet.changed', id::text, id,
    jsonb_build_object(
        'specversion', '1.0',
        'id', event_id,
        'source', 'catalog',
        'type', 'BouquetChanged',
        'subject', id,
        'time', to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'traceparent', traceparent,
        'datacontenttype', 'application/json',
        'data', jsonb_build_object(
            'bouquet_id', id,
            'version', version,
            'name', name,
            'price', jsonb_build_object(
                'amount', to_char(price_minor / 100.0, 'FM9999990.00'), 'currency', currency
            ),
            'deleted', false,
            'schema_version', 1
        )
    ),
    jsonb_build_object('traceparent', traceparent), created_at
from message
order by message.id;
