-- What the catalog keeps.
select jsonb_build_object(
    'flowers', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'name', name,
            'price', price_minor,
            'stock', stock_quantity,
            'version', version,
            'updated', stage.micros(updated_at),
            'deleted', deleted
        )), '{}')
        from flowers
    ),
    'bouquets', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'name', name,
            'price', price_minor,
            'category', category_id,
            'version', version,
            'updated', stage.micros(updated_at),
            'deleted', deleted_at is not null,
            'items', (
                select coalesce(
                    jsonb_object_agg(flower_id, jsonb_build_object('position', position, 'quantity', quantity)), '{}'
                )
                from bouquet_items
                where bouquet_items.bouquet_id = bouquets.id
            )
        )), '{}')
        from bouquets
    ),
    'categories', (
        select coalesce(jsonb_object_agg(id, jsonb_build_object(
            'name', name, 'description', description, 'version', version
        )), '{}')
        from categories
    ),
    'reservations', (
        select coalesce(jsonb_object_agg(order_id, jsonb_build_object(
            'status', status,
            'version', version,
            'items', (
                select coalesce(jsonb_object_agg(flower_id, quantity), '{}')
                from reservation_items
                where reservation_items.order_id = reservations.order_id
            )
        )), '{}')
        from reservations
    )
)
