-- Inbox and outbox.
select jsonb_build_object(
    'inbox', (select coalesce(jsonb_agg(event_id order by event_id::text), '[]') from inbox),
    'outbox', (
        select coalesce(jsonb_object_agg(ordering_key, messages), '{}')
        from (
            select
                ordering_key,
                jsonb_agg(
                    jsonb_build_object(
                        'type', event_type,
                        'routing_key', routing_key,
                        'data', payload -> 'data',
                        'trace', headers ->> 'traceparent',
                        'due', case when ordering_key like '%:%' then stage.micros(due_at) end
                    )
                    order by id
                ) as messages
            from outbox_messages
            -- What is no timer is due at once, and whatever is told says of itself what its columns say.
            where (ordering_key like '%:%' or due_at <= now())
              and payload ->> 'id' = event_id::text
              and payload ->> 'type' = event_type
              and payload ->> 'subject' = aggregate_id::text
              and payload ->> 'traceparent' = headers ->> 'traceparent'
              and split_part(ordering_key, ':', 1) = aggregate_id::text
            group by ordering_key
        ) as keys
    )
)
