-- Handled events are pruned by their ids, which are in the order of time: nothing asks when they arrived.
drop index inbox_age;
