-- What payment keeps.
select jsonb_build_object(
    'orders', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'user', user_id,
            'amount', amount_minor,
            'method', payment_method,
            'due', stage.micros(payment_due_at),
            'cancelled', cancelled_at is not null,
            'version', version
        )), '{}')
        from orders
    ),
    'payments', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'order', order_id,
            'attempt', attempt,
            'user', user_id,
            'amount', amount_minor,
            'status', status,
            'method', payment_method,
            'transaction', transaction_id,
            'reason', failure_reason,
            'created', stage.micros(created_at),
            'updated', stage.micros(updated_at)
        )), '{}')
        from payments
    ),
    'keys', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'user_id', user_id, 'scope', scope, 'key', key, 'body_sha256', encode(body_sha256, 'hex'),
            'answer', answer, 'payment', payment_id
        )), '[]')
        from idempotency_keys
    )
)
