-- The provider's own word on each charge, with what its refunds come to.
select
    charges.key,
    charges.amount_minor,
    charges.outcome,
    charges.transaction_id,
    charges.refunded_minor,
    coalesce(given_back.minor, 0)::int8 as refunds_minor,
    now() - greatest(charges.created_at, charges.settles_at, given_back.last_at) as untouched_for
from charges
left join lateral (
    select sum(refunds.amount_minor) as minor, max(refunds.created_at) as last_at
    from refunds
    where refunds.charge_key = charges.key
) as given_back on true
