-- Once quiet: what payment believes and what the provider did are the same, charge by charge.
select
    coalesce('payment ' || payment.id, 'charge ' || charge.key) as subject,
    case
        when payment.id is null then 'the provider charged it, payment does not know it'
        when charge.key is null then format('it is %s, the provider has no charge of it', payment.status)
        when payment.status = 'failed' then 'it failed, yet the provider took the money'
        else format(
            'it is %s with %s, transaction %s; the provider took %s, gave back %s, transaction %s',
            payment.status, payment.amount_minor, payment.transaction_id, charge.amount_minor,
            charge.refunded_minor, coalesce(charge.transaction_id, 'none')
        )
    end as what
from payment_payments payment
full join payment_provider_charges charge on charge.key = payment.charge_key
where coalesce(payment.untouched_for, charge.untouched_for) >= current_setting('audit.grace')::interval
and coalesce(charge.untouched_for, payment.untouched_for) >= current_setting('audit.grace')::interval
-- One under way is looked up until the provider has answered.
and payment.status is distinct from 'processing'
-- And of a cancelled order that is under way: what was taken goes back.
and not exists (select from unsettled where unsettled.order_id = payment.order_id::text)
and not case
    when payment.id is null then charge.outcome = 'declined'
    when payment.status in ('completed', 'refunded') then
        charge.outcome = 'succeeded'
        and charge.amount_minor = payment.amount_minor
        and charge.transaction_id = payment.transaction_id
        and charge.refunded_minor = case when payment.status = 'refunded' then payment.amount_minor else 0 end
    else charge.key is null or charge.outcome = 'declined' or charge.refunded_minor = charge.amount_minor
end is true
