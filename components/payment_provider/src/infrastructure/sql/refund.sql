-- Gives back $3 of the charge $2 under the key $1, once, and gives the refund that stands. The key decides: two calls
-- at once make one refund, and the call that waited for the other sees no row at all, for its snapshot is older. The
-- ledger itself refuses to give back more than was taken.
with charge as (
    select key
    from charges
    where key = $2::text
      and outcome = 'succeeded'
      and settles_at <= clock_timestamp()
    for update
), made as (
    insert into refunds (key, charge_key, amount_minor, currency)
    select $1::text, charge.key, $3::int8, $4::text
    from charge
    on conflict (key) do nothing
    returning key, charge_key, amount_minor
), counted as (
    update charges
    set refunded_minor = charges.refunded_minor + made.amount_minor
    from made
    where charges.key = made.charge_key
)
select key
from made
union all
select key
from refunds
where key = $1::text
