-- A shop that has sold for years, as far as a planner can tell: in every table that grows, `:rows` rows.
create function pg_temp.id(kind text, number bigint) returns uuid language sql immutable
as $$select md5(kind || number)::uuid$$;

insert into auth.users (id, email, email_key, password_hash, role, created_at, updated_at)
select pg_temp.id('user', n), n || '@example.com', n || '@example.com', 'x', 'user', now(), now()
from generate_series(1, :rows) as n;

insert into auth.sessions (id, user_id, user_epoch, client_hash, created_at, expires_at)
select
    pg_temp.id('session', n), pg_temp.id('user', n), 0, sha256(n::text::bytea), now(), now() + n * interval '1 minute'
from generate_series(1, :rows) as n;

insert into auth.refresh_tokens (token_hash, session_id, generation, expires_at)
select sha256(n::text::bytea), pg_temp.id('session', n), 0, now() + n * interval '1 minute'
from generate_series(1, :rows) as n;

insert into auth.login_guesses (key, allowed, within, hold, failed, pending, expires_at)
select sha256(n::text::bytea), 5, '15 minutes', '1 minute', '{}', '{}', now() + n * interval '1 minute'
from generate_series(1, :rows) as n;

insert into ordering.orders (
    id, user_id, status, total_minor, currency, delivery_address, payment_method, created_at, updated_at,
    payment_due_at
)
select
    pg_temp.id('order', n), pg_temp.id('user', n / 20), 'completed', 15000, 'RUB', '1 Rose Street', 'pm_card_visa',
    now(), now(), now()
from generate_series(1, :rows) as n;

insert into ordering.order_items (id, order_id, position, flower_id, quantity, price_minor)
select pg_temp.id('item', n), pg_temp.id('order', n), 0, pg_temp.id('flower', n), 1, 15000
from generate_series(1, :rows) as n;

insert into ordering.order_history (order_id, version, position, status, at, cause, trace_id)
select pg_temp.id('order', n), version, 0, 'created', now(), 'OrderPlaced', ''
from generate_series(1, :rows) as n
cross join generate_series(1, 3) as version;

insert into ordering.order_notes (order_id, version, position, note, at, cause, trace_id)
select pg_temp.id('order', n), 2, 0, 'stock_reserved', now(), 'StockReserved', ''
from generate_series(1, :rows) as n;

insert into ordering.catalog_items (id, kind, name, price_minor, currency, version, deleted)
select pg_temp.id('flower', n), 'flower', 'Rose', 15000, 'RUB', 1, false
from generate_series(1, :rows) as n;

insert into ordering.idempotency_keys (user_id, scope, key, body_sha256, answer)
select pg_temp.id('user', n), 'POST /orders', n::text, '', '{}'
from generate_series(1, :rows) as n;

insert into catalog.flowers (
    id, name, price_minor, currency, stock_quantity, flower_type, created_at, updated_at
)
select pg_temp.id('flower', n), 'Rose', 15000, 'RUB', 100, 'rose', now(), now()
from generate_series(1, :rows) as n;

insert into catalog.categories (id, name, created_at)
values (pg_temp.id('category', 1), 'Planned', now());

insert into catalog.bouquets (id, name, price_minor, currency, category_id, created_at, updated_at)
select pg_temp.id('bouquet', n), 'Spring', 15000, 'RUB', pg_temp.id('category', 1), now(), now()
from generate_series(1, :rows) as n;

insert into catalog.bouquet_items (bouquet_id, flower_id, position, quantity)
select pg_temp.id('bouquet', n), pg_temp.id('flower', n), 0, 3
from generate_series(1, :rows) as n;

insert into catalog.reservations (order_id, status, created_at, updated_at)
select pg_temp.id('order', n), 'sold', now(), now()
from generate_series(1, :rows) as n;

insert into catalog.reservation_items (order_id, flower_id, quantity)
select pg_temp.id('order', n), pg_temp.id('flower', n), 1
from generate_series(1, :rows) as n;

insert into payment.orders (id, user_id, amount_minor, currency, payment_method, created_at)
select pg_temp.id('order', n), pg_temp.id('user', n / 20), 15000, 'RUB', 'pm_card_visa', now()
from generate_series(1, :rows) as n;

insert into payment.payments (
    id, order_id, attempt, user_id, amount_minor, currency, status, payment_method, transaction_id, created_at,
    updated_at
)
select
    pg_temp.id('payment', n), pg_temp.id('order', n), 1, pg_temp.id('user', n / 20), 15000, 'RUB', 'completed',
    'pm_card_visa', n::text, now(), now()
from generate_series(1, :rows) as n;

insert into payment_provider.charges (key, amount_minor, currency, method, outcome, transaction_id, settles_at)
select pg_temp.id('payment', n) || ':1', 15000, 'RUB', 'pm_card_visa', 'succeeded', n::text, now()
from generate_series(1, :rows) as n;

insert into delivery.orders (id, user_id, delivery_address, created_at)
select pg_temp.id('order', n), pg_temp.id('user', n / 20), '1 Rose Street', now()
from generate_series(1, :rows) as n;

insert into delivery.shipments (id, order_id, status, tracking_number, created_at, updated_at)
select pg_temp.id('shipment', n), pg_temp.id('order', n), 'delivered', n::text, now(), now()
from generate_series(1, :rows) as n;

do $$
declare
    service text;
begin
    foreach service in array array['catalog', 'ordering', 'payment', 'delivery'] loop
        execute format(
            'insert into %I.inbox (event_id) select pg_temp.id(''event'', n) from generate_series(1, :rows) as n',
            service
        );
    end loop;
    foreach service in array array['catalog', 'ordering', 'payment', 'delivery', 'bridge'] loop
        -- Nearly all were published, a few wait.
        execute format(
            'insert into %I.outbox_messages (
                event_id, event_type, routing_key, ordering_key, aggregate_id, payload, occurred_at, processed_at
            )
            select pg_temp.id(''event'', n), ''OrderCreated'', ''order.created'', n::text, pg_temp.id(''order'', n),
                ''{}'', now(), case when n %% 100 > 0 then now() end
            from generate_series(1, :rows) as n',
            service
        );
    end loop;
end
$$;

analyze;
