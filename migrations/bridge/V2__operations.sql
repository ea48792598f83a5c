-- What an operator does with dead letters is recorded, and the bridge tells of them by events of its own.

-- Pruning walks by age.
create index dead_letters_resolved on dead_letters (resolved_at) where resolved_at is not null;

-- Every act of an operator. It is kept for good, also when what it was about is pruned.
create table dead_letter_acts (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    by_whom text not null,
    act text not null,
    -- `letter:45`, `outbox:ordering:123`, or the `outbox:ordering` of which rows were replayed.
    subject text not null,
    event_id text,
    reason text,
    constraint dead_letter_acts_known check (act in ('retried', 'discarded', 'replayed'))
);

create index dead_letter_acts_subject on dead_letter_acts (subject, id);

-- Parked rows of any service's outbox that the bridge has told of and that are parked still. The rows themselves may be
-- in another database.
create table parked_rows (
    service text not null,
    row_id bigint not null,
    parked_at timestamptz not null,
    event_type text not null,
    -- What the event is about, and the trace that it belongs to: for the word that it is not parked any more.
    about uuid,
    traceparent text,
    primary key (service, row_id)
);

create table outbox_messages (
    id bigint generated always as identity primary key,
    event_id uuid not null unique,
    event_type text not null,
    routing_key text not null,
    -- What the event is about: rows of one key are first published in the order of their ids.
    ordering_key text not null,
    aggregate_id uuid not null,
    -- The whole CloudEvent: the message's body, published as it is.
    payload jsonb not null,
    headers jsonb not null default '{}',
    occurred_at timestamptz not null,
    due_at timestamptz not null default now(),
    processed_at timestamptz,
    parked_at timestamptz,
    attempts int not null default 0,
    last_error text
);

-- The relay's poll: what is due and neither published nor parked.
create index outbox_messages_due on outbox_messages (due_at, id) where processed_at is null and parked_at is null;

-- And whether an earlier row of the same key still waits.
create index outbox_messages_key on outbox_messages (ordering_key, id)
where processed_at is null and parked_at is null;

-- Pruning walks by age.
create index outbox_messages_processed on outbox_messages (processed_at) where processed_at is not null;

-- What waits for an operator. A parked row that was discarded is processed as well.
create index outbox_messages_parked on outbox_messages (id) where parked_at is not null and processed_at is null;
