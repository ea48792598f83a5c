-- An order may be cancelled, and payment may hear of that before it hears of anything else.

alter table orders
    -- From then on nothing is charged for the order any more. With a completed payment it says that a refund is under
    -- way: it is stored before the provider is asked to give the money back.
    add column cancelled_at timestamptz,
    -- Of a tombstone nothing is known but that its order was cancelled.
    alter column user_id drop not null,
    alter column amount_minor drop not null,
    alter column currency drop not null,
    alter column payment_method drop not null,
    add constraint orders_tombstone check (
        num_nulls(user_id, amount_minor, currency, payment_method) = 0
        or (num_nulls(user_id, amount_minor, currency, payment_method) = 4 and cancelled_at is not null)
    );
