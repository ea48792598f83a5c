-- What ordering keeps.
select jsonb_build_object(
    'orders', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'user', user_id,
            'status', status,
            'reason', status_reason,
            'total', total_minor,
            'address', delivery_address,
            'method', payment_method,
            'due', stage.micros(payment_due_at),
            'attempt', payment_attempt,
            'reserved', stock_reserved,
            'version', version,
            'created', stage.micros(created_at),
            'updated', stage.micros(updated_at),
            'items', (
                select coalesce(jsonb_agg(
                    jsonb_build_object(
                        'id', item.id,
                        'product', coalesce(flower_id, bouquet_id),
                        'quantity', quantity,
                        'price', price_minor
                    )
                    order by position
                ), '[]')
                from order_items as item
                where item.order_id = orders.id
            )
        )), '{}')
        from orders
    ),
    'history', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'order', order_id, 'version', version, 'position', position, 'what', status, 'at', stage.micros(at),
            'cause', cause, 'event', event_id, 'trace', trace_id
        )), '[]')
        from order_history
    ),
    'notes', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'order', order_id, 'version', version, 'position', position, 'what', note, 'at', stage.micros(at),
            'cause', cause, 'event', event_id, 'trace', trace_id
        )), '[]')
        from order_notes
    ),
    'products', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'kind', kind, 'name', name, 'price', price_minor, 'version', version, 'deleted', deleted
        )), '{}')
        from catalog_items
    ),
    'keys', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'user_id', user_id, 'scope', scope, 'key', key, 'body_sha256', encode(body_sha256, 'hex'), 'answer', answer
        )), '[]')
        from idempotency_keys
    )
)
