-- One step of pruning: removes a few expired tokens, and a few expired sessions that have none left. Such a step comes
-- before each token that is given out, so it keeps up. What somebody else is at is left to them.
with tokens as (
    delete from refresh_tokens
    where token_hash in (
        select token_hash
        from refresh_tokens
        where expires_at < now()
        order by expires_at
        limit 20
        for update skip locked
    )
)
delete from sessions
where id in (
    select id
    from sessions
    where expires_at < now()
      and not exists (select from refresh_tokens where session_id = sessions.id)
    order by expires_at
    limit 20
    for update skip locked
)
