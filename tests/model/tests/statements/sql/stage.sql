-- What a race needs on a real server: a way to stop one session after its statement has its snapshot and before it has
-- locked anything. A session that has `stage.stalls` stops before the first row that it writes; one that looks for
-- functions here before it looks in pg_catalog also stops before it tries an idempotency key's lock. Both go on once
-- nobody holds the advisory lock (4711, 1) any more.
create schema stage;

create function stage.micros(at timestamptz) returns bigint language sql immutable as $$
    select (extract(epoch from at) * 1000000)::bigint
$$;

create function stage.stall() returns trigger language plpgsql as $$
begin
    if current_setting('stage.stalls', true) = 'yes' then
        perform pg_advisory_xact_lock_shared(4711, 1);
    end if;
    return null;
end
$$;

create function stage.pg_try_advisory_xact_lock(key bigint) returns boolean language plpgsql as $$
begin
    perform pg_advisory_xact_lock_shared(4711, 1);
    return pg_catalog.pg_try_advisory_xact_lock(key);
end
$$;
