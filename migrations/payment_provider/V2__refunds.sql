-- What the simulated provider gave back.

alter table charges
    add column refunded_minor bigint not null default 0,
    -- Never more than was taken, and nothing of a charge that took nothing.
    add constraint charges_refunded check (
        refunded_minor between 0 and case when outcome = 'succeeded' then amount_minor else 0 end
    );

create table refunds (
    -- The caller's own key: the same key never refunds twice.
    key text primary key,
    charge_key text not null references charges (key),
    amount_minor bigint not null,
    currency text not null,
    created_at timestamptz not null default now(),
    constraint refunds_amount check (amount_minor >= 0)
);

-- Audits ask for the refunds of a charge.
create index refunds_charge on refunds (charge_key);
