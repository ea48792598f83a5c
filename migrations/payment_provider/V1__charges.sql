-- The ledger of the simulated payment provider: its own word on what it took, which no other service reads.

create table charges (
    -- The caller's own key: the same key never charges twice.
    key text primary key,
    amount_minor bigint not null,
    currency text not null,
    method text not null,
    outcome text not null,
    transaction_id text,
    failure_reason text,
    created_at timestamptz not null default now(),
    -- Until then the provider says that the charge is pending.
    settles_at timestamptz not null,
    constraint charges_amount check (amount_minor >= 0),
    constraint charges_outcome check (outcome in ('succeeded', 'declined')),
    constraint charges_transaction_id unique (transaction_id),
    constraint charges_transaction check ((outcome = 'succeeded') = (transaction_id is not null)),
    constraint charges_failure check ((outcome = 'declined') = (failure_reason is not null))
);
