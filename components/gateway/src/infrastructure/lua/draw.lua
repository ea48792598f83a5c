-- Draws one from each bucket of KEYS, or from none if one of them is empty: the generic cell rate algorithm, by Redis'
-- own clock. Of a bucket stands when it will be full again, in microseconds; of a full one nothing.
-- ARGV has two numbers for each: the microseconds that bring one back, and how many the bucket holds.
-- Gives three numbers for each: how many are left, in how many microseconds one can be drawn (0: it was), and in how
-- many there is one more (0: the bucket is full).
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local debts, draws = {}, true
for i, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[2 * i - 1])
    local capacity = interval * ARGV[2 * i]
    local full_at = tonumber(redis.call('GET', key)) or now
    -- After a change of the limit or a clock that was set back, the bucket is empty at worst.
    debts[i] = math.min(math.max(full_at - now, 0), capacity)
    draws = draws and debts[i] + interval <= capacity
end

local answer = {}
for i, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[2 * i - 1])
    local capacity, debt = interval * ARGV[2 * i], debts[i]
    local wait = math.max(debt + interval - capacity, 0)
    if draws then
        debt = debt + interval
        redis.call('SET', key, string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
    end
    local left = math.floor((capacity - debt) / interval)
    answer[3 * i - 2] = left
    answer[3 * i - 1] = wait
    answer[3 * i] = math.min(debt - capacity + (left + 1) * interval, debt)
end
return answer
