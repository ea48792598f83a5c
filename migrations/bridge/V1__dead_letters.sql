-- Events that no service would take, drained from the queue of dead letters so that people can look at them.
create table dead_letters (
    id bigint generated always as identity primary key,
    -- The queue that it died in, and goes back to if it is tried again.
    queue text not null,
    -- The CloudEvent's id; of a body without one, the message's own, or else a digest.
    event_id text not null,
    event_type text,
    -- What it was published with, not what brought it here.
    routing_key text,
    ordering_key text,
    reason text not null,
    -- For people and queries: null if the body is not JSON that jsonb can hold.
    payload jsonb,
    -- What was delivered, byte for byte: this is what is published if it is tried again.
    body bytea not null,
    properties jsonb not null default '{}',
    headers jsonb not null default '{}',
    deaths int not null default 1,
    -- The last time.
    died_at timestamptz not null,
    received_at timestamptz not null default now(),
    resolved_at timestamptz,
    resolution text,
    constraint dead_letters_resolution_known check (resolution in ('retried', 'discarded')),
    constraint dead_letters_resolved_in_one_way check ((resolved_at is null) = (resolution is null))
);

-- An event that dies again in the same queue while nobody has looked is the same letter. Once one is resolved, the
-- next death of its event is a new one.
create unique index dead_letters_open on dead_letters (queue, event_id) where resolved_at is null;

create index dead_letters_open_by_age on dead_letters (died_at, id) where resolved_at is null;
