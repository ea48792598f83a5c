-- Dead letters and parked rows.
select
    item as subject,
    coalesce(event_type, 'an event without type') || coalesce(' about order ' || order_id, '') || ': '
        || coalesce(what, 'without a reason') as what
from waiting
