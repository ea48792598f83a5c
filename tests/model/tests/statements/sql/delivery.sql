-- What delivery keeps.
select jsonb_build_object(
    'orders', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'user', user_id, 'address', delivery_address, 'version', version
        )), '{}')
        from orders
    ),
    'shipments', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'order', order_id,
            'status', status,
            'tracking_number', tracking_number,
            'reason', failure_reason,
            'version', version,
            'created', stage.micros(created_at),
            'updated', stage.micros(updated_at)
        )), '{}')
        from shipments
    )
)
