-- A page of the matching orders, newest first, and how many match in all. One row without an order says the count
-- of a page that is empty. `matching` is read twice, each time by the index that fits: not materialized.
with matching as not materialized (
    select id
    from orders
    where ($1::uuid is null or user_id = $1::uuid)
      and ($2::text is null or status = $2::text)
      and ($3::timestamp is null or created_at >= $3::timestamp at time zone 'utc')
      and ($4::timestamp is null or created_at <= $4::timestamp at time zone 'utc')
), page as (
    select
        id, user_id, status, status_reason, total_minor, delivery_address, payment_method,
        payment_due_at at time zone 'utc' as payment_due_at, payment_attempt, stock_reserved, version,
        created_at at time zone 'utc' as created_at, updated_at at time zone 'utc' as updated_at,
        (
            select jsonb_agg(to_jsonb(item) order by item.position)
            from order_items as item
            where item.order_id = orders.id
        ) as items
    from orders
    where id in (select id from matching order by id desc limit $6::int8 offset $5::int8)
)
select counted.total, page.*
from (select count(*) as total from matching) as counted
left join page on true
order by page.id desc
