-- The refund that was made under the key $1. No row: none was.
select key
from refunds
where key = $1::text
