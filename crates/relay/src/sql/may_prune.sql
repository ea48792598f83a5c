-- Whether the table $1 is there and we may remove rows of it.
select coalesce(has_table_privilege(to_regclass($1), 'select') and has_table_privilege(to_regclass($1), 'delete'), false)
