-- One row if there is anything in the service's schema.
select 1 as one from pg_class where relnamespace = current_schema()::regnamespace limit 1
