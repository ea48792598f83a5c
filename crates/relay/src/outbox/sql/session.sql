-- How the relay's session plans: every statement is a short walk along an index that is in its order already.
--
-- A prepared statement is planned while its table may be as good as empty, where every plan costs next to nothing, and
-- keeps that plan when a backlog comes, until the table is analyzed again. So what must never be done is not to be
-- thought of at all: reading the whole table, and reading a whole index to sort what is in it.
set enable_seqscan = off;
set enable_sort = off;
set jit = off;
