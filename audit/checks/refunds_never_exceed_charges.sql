-- Always: nobody gets back more than was taken, and the ledger's sum is that of its refunds.
select
    'charge ' || key as subject,
    format('%s of %s was given back, its refunds are %s (minor units)', refunded_minor, amount_minor, refunds_minor)
        as what
from payment_provider_charges
where refunded_minor > case when outcome = 'succeeded' then amount_minor else 0 end
or refunds_minor <> refunded_minor
