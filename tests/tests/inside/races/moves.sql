-- How much is under way: events that are to be published within moments, orders and payments that are not at rest, and
-- what changed less than a second ago, which is too young for an audit.
select
    (
        select count(*)
        from ordering.orders
        where status in ('created', 'payment_completed')
           or updated_at > now() - interval '1 second'
    ) + (
        select count(*)
        from payment.payments
        where status = 'processing'
           or updated_at > now() - interval '1 second'
    ) + (
        select count(*)
        from catalog.reservations
        where updated_at > now() - interval '1 second'
    ) + (
        select count(*)
        from delivery.shipments
        where updated_at > now() - interval '1 second'
    ) + (
        select count(*)
        from (
            select due_at from ordering.outbox_messages where processed_at is null
            union all
            select due_at from payment.outbox_messages where processed_at is null
            union all
            select due_at from catalog.outbox_messages where processed_at is null
            union all
            select due_at from delivery.outbox_messages where processed_at is null
        ) as unpublished
        where due_at < now() + interval '1 minute'
    )
